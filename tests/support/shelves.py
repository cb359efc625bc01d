"""A folder of notes as the only source, on the real stores of a stack: what the fault tests load again and again."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from concordance.consistency import verify
from concordance.parsing.parser import Parser
from concordance.pipeline.adapters import Adapters, open_adapters
from concordance.pipeline.embed import embed
from concordance.pipeline.extract import extract
from concordance.pipeline.load import load
from concordance.pipeline.plan import make_plan
from concordance.pipeline.publish import publish, settle, sweep
from concordance.pipeline.references import PlanReference, RunReport, RunRequest, ShardReference
from concordance.pipeline.report import report
from concordance.pipeline.run import ending, tidy
from concordance.settings import Settings, load_settings
from support.ledgers import move_clock, skip_versions

SOURCE = "shelf"
_SECRETS = {"ledger_password", "neo4j_password", "qdrant_api_key"}
_WORDS = ("river", "stone", "cloud", "ember", "willow", "harbour", "lantern", "meadow")


@dataclass(frozen=True, slots=True)
class Shelf:
    """`folder/notes/*.md` and the settings of everything around them, also as a file for worker processes."""

    folder: Path
    settings: Settings

    @property
    def settings_file(self) -> Path:
        return self.folder / "settings.json"

    @property
    def notes(self) -> Path:
        return self.folder / "notes"

    def write(self, number: int, edition: int = 0) -> None:
        """One note of one chunk or a few, which links to the next one and shares words with all others."""
        dice = random.Random(f"{number} {edition}")
        lines = " ".join(dice.choice(_WORDS) for _ in range(30))
        text = f"# Note {number}\n\nEdition {edition}: {lines}, see [next](note-{number + 1}.md).\n"
        (self.notes / f"note-{number}.md").write_text(text)

    def remove(self, number: int) -> None:
        (self.notes / f"note-{number}.md").unlink(missing_ok=True)

    def edit(self, dice: random.Random, *, edition: int) -> None:
        """A few changes: at least one note is written anew, at times one goes away or comes back."""
        for number in dice.sample(range(12), 4):
            self.write(number, edition)
        if dice.random() < 0.5:
            self.remove(dice.randrange(12))

    @property
    def documents(self) -> int:
        return len(list(self.notes.glob("*.md")))

    @contextmanager
    def adapters(self, parser: Parser | None = None, **overrides: Any) -> Iterator[Adapters]:
        """What a worker of this shelf opens; with a `parser` that is there already it starts at once."""
        with open_adapters(self.with_settings(**overrides)) as adapters:
            yield adapters if parser is None else replace(adapters, parser=parser)

    def with_settings(self, **overrides: Any) -> Settings:
        given = {name: getattr(self.settings, name) for name in self.settings.model_fields_set}
        return load_settings({**given, **overrides}, environment={})


def make_shelf(stack: Settings, folder: Path, *, documents: int = 12, **overrides: Any) -> Shelf:
    """An empty ledger is the caller's to give. The index version is one that no other test of the session uses."""
    (folder / "notes").mkdir()
    sources = folder / "sources.toml"
    sources.write_text(
        f'[[source]]\nname = "{SOURCE}"\nkind = "files"\ntenant = "acme"\nlocation = "{folder / "notes"}"\n'
        'glob = "*.md"\n'
    )
    given = {
        **stack.model_dump(mode="json", exclude=_SECRETS),
        "sources_file": str(sources),
        "staging_url": f"file://{folder / 'staging'}",
        "embedding_backend": "hash",
        "batch_chunks": 3,
        "chunk_min_tokens": 16,
        "chunk_max_tokens": 40,
        "retry_wait_seconds": 0.05,
        "retry_wait_max_seconds": 0.2,
        "circuit_open_seconds": 0.5,
        **overrides,
    }
    # The secrets stay in the state folder, where both this process and its workers find them.
    (folder / "settings.json").write_text(json.dumps(given, default=str))
    skip_versions(stack)
    shelf = Shelf(folder, load_settings(given, environment={}))
    for number in range(documents):
        shelf.write(number)
    return shelf


def run_ungated(run_id: str, *, adapters: Adapters) -> RunReport:
    """A whole run without its gates, which have tests of their own and cost more than all the rest of a small run."""
    settings = adapters.settings
    request = RunRequest(SOURCE, run_id, approved=True)
    tools: Any = {"adapters": adapters, "settings": settings}
    with ending(request, adapters=adapters):
        plan = make_plan(request, **tools)
        if plan.goes_on:
            for shard in prepared(plan, adapters=adapters):
                load(plan, shard, **tools)
            publish(plan, **tools)
        else:
            tidy(plan, **tools)
        return report(plan, adapters=adapters)


def prepared(plan: PlanReference, *, adapters: Adapters) -> list[ShardReference]:
    """The plan's shards up to their vectors."""
    tools: Any = {"adapters": adapters, "settings": adapters.settings}
    return [embed(plan, extract(plan, shard, **tools), **tools) for shard in range(plan.shards)]


def pass_leases(settings: Settings) -> None:
    """Every lease runs out, by the ledger's clock."""
    move_clock(settings, settings.source_lease_seconds + settings.lease_seconds + 1)


def clean_up(*, adapters: Adapters) -> None:
    """After the grace everything that is due is settled and swept."""
    settings = adapters.settings
    move_clock(settings, settings.lease_seconds + settings.sweep_grace_seconds + 1)
    with adapters.ledger.snapshot() as snapshot:
        version = snapshot.live()
    settle(version, adapters=adapters, settings=settings)
    sweep(version, adapters=adapters, settings=settings)


def assert_agree(*, adapters: Adapters, documents: int) -> None:
    """I1, I2, I4 as `verify` sees them, and every document of the source is there."""
    checked = verify(ledger=adapters.ledger, graph=adapters.graph, vectors=adapters.vectors)
    assert checked.is_sound, checked.findings
    assert checked.counts["ledger"]["documents"] == documents, checked.counts


def assert_nothing_left_to_do(*, adapters: Adapters, run_id: str) -> None:
    """I7: another run does nothing; and reading and cutting everything anew finds what the ledger has (I3)."""
    assert run_ungated(f"{run_id}-again", adapters=adapters).state == "nothing"
    anew = RunRequest(SOURCE, f"{run_id}-anew", mode="full", dry_run=True, approved=True)
    plan = make_plan(anew, adapters=adapters, settings=adapters.settings)
    report(plan, adapters=adapters)
    assert plan.counts["added"] == plan.counts["changed"] == plan.counts["deleted"] == 0, plan.counts
