"""Commands on the stack's real stores, with sources of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from concordance.__main__ import main
from concordance.ledger import Ledger
from concordance.settings import Settings
from support.commanding import Command, Commanding
from support.ledgers import skip_versions
from support.stacks import PORTS, SHORT_TIMES


@pytest.fixture
def commanding(
    stack: Settings,
    ledger: Ledger,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Commanding:
    """Declare sources (tenant by name), each with these documents (text by path), and further settings; what comes back
    runs a command with `--json` and returns its exit code and what it printed."""

    def prepared(documents: Mapping[str, str], *, tenants: Mapping[str, str], **further: Any) -> Command:
        tables = []
        for name, tenant in tenants.items():
            for path, content in documents.items():
                (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / name / path).write_text(content)
            tables.append(
                f'[[source]]\nname = "{name}"\nkind = "files"\ntenant = "{tenant}"\nlocation = "{tmp_path / name}"\n'
            )
        (tmp_path / "sources.toml").write_text("\n".join(tables))
        given = {name: getattr(stack, name) for name in ("state_dir", "graph_heap_bytes", *PORTS, *SHORT_TIMES)}
        given |= {
            "sources_file": tmp_path / "sources.toml",
            "staging_url": f"file://{tmp_path / 'staging'}",
            "embedding_backend": "hash",
            **further,
        }
        for name, value in given.items():
            monkeypatch.setenv(f"AIRFLOW__CONCORDANCE__{name.upper()}", str(value))
        skip_versions(stack)
        return run

    def run(*argv: str) -> tuple[int, Any]:
        capsys.readouterr()
        code = main([*argv, "--json"])
        shown = capsys.readouterr()
        return code, json.loads(shown.out) if shown.out else shown.err

    return prepared
