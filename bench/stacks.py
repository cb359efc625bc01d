"""The stores that a room measures on: running, empty, and gone with the block; with what a deployment has."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from concordance.ledger.migrate import migrate
from concordance.local.programs import Selection
from concordance.operations.logs import configure_logs
from concordance.settings import Settings
from support.stacks import running, stack_settings

# Times for the largest request of a bench on a machine that has other work; memory as it is shipped.
_DEPLOYED = {
    "lease_seconds": 120,
    "call_timeout_seconds": 60,
    "sweep_grace_seconds": 600,
    "graph_heap_bytes": Settings.model_fields["graph_heap_bytes"].default,
}


def files(folder: Path, source: str) -> str:
    """A source of Markdown files in a folder of its name, as `sources.toml` declares it."""
    return f'kind = "files"\nlocation = "{folder / source}"\nglob = "**/*.md"\n'


@contextmanager
def stack(
    *,
    sources: Sequence[str] = ("corpus",),
    declared: Callable[[Path, str], str] = files,
    programs: Selection = "stores",
    folder: Path | None = None,
    **overrides: Any,
) -> Iterator[tuple[Settings, Path]]:
    """Running stores with an empty ledger, and a folder with these sources, still empty; a temporary one, unless one is
    given."""
    # A line for each document, on a terminal, would be a part of what is measured.
    configure_logs(level="WARNING", levels={"great_expectations": "WARNING"})
    place = nullcontext(folder) if folder else tempfile.TemporaryDirectory(prefix="concordance-bench-")
    with place as name:
        folder = Path(name)
        for source in sources:
            (folder / source).mkdir()
        (folder / "sources.toml").write_text(
            "\n".join(
                f'[[source]]\nname = "{source}"\ntenant = "bench"\n{declared(folder, source)}' for source in sources
            )
        )
        given = {"embedding_backend": "hash", **_DEPLOYED, **overrides}
        settings = stack_settings(folder / "state", sources_file=folder / "sources.toml", **given)
        with running(settings, programs=programs) as up:
            migrate(up.effective_ledger_url, up.ledger_password.get_secret_value())
            yield up, folder
