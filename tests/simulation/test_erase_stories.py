"""Erase on the memory stores with the real ledger: whatever the document was in the middle of, nothing of it stays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from concordance import ids
from concordance.consistency.bars import restore_bars
from concordance.consistency.erase import finish_due
from concordance.errors import ConcordanceError, Conflict, Corrupt, Leased, Unavailable
from concordance.ledger import Ledger
from concordance.model import Entity, EntityType, IndexVersion
from concordance.parsing.parser import Parser
from concordance.pipeline import tables
from concordance.settings import Settings
from concordance.staging import Artefact
from concordance.stores.memory import MemoryGraph, MemoryVectors
from simulation.world import World, quick_settings
from support.erasing import (
    SECRET,
    Down,
    Recorded,
    document,
    erase,
    finish,
    held,
    is_sound,
    request,
    shown,
    wait_for_the_grace,
)
from support.ledgers import connect, empty_ledger

ALPHA = f"# Alpha {SECRET}\n\nStone, feldspar and {SECRET}. See [beta](/beta).\n"
BETA = "# Beta\n\nOne cloud over the feldspar. See [alpha](/alpha).\n"


@pytest.fixture
def world(ledger: Ledger, stack: Settings, parser: Parser) -> Iterator[World]:
    """A shelf with a document about the secret and one that is not."""
    with World(ledger, quick_settings(stack), seed=1, parser=parser).turning() as world:
        world.edit("alpha", ALPHA)
        world.edit("beta", BETA)
        yield world


def ended(world: World, erasure_id: UUID) -> None:
    """The grace passes, the erasure is finished, and nothing of `alpha` is anywhere."""
    wait_for_the_grace(world)
    assert finish(world, erasure_id).is_erased
    assert held(world, document("alpha")) == []
    assert shown(world) == {"beta"}
    assert is_sound(world)


def test_an_erased_document_is_hidden_at_once_and_erased_after_the_last_writer_s_time(world: World) -> None:
    assert world.run()
    asked = request("alpha")
    hidden = erase(world, asked)
    assert (hidden.state, hidden.counts["documents"], hidden.counts["shown"]) == ("hidden", 1, 1)
    assert shown(world) == {"beta"}
    assert world.graph.generations_of(world.live(), [document("alpha")]) == {}
    with pytest.raises(Leased, match="hidden, not erased"):
        finish(world, asked.erasure_id)
    assert world.ledger.erasing.get(asked.erasure_id).state == "hidden"
    ended(world, asked.erasure_id)
    receipt = world.ledger.erasing.get(asked.erasure_id).receipt
    assert receipt is not None
    assert SECRET not in str(receipt)
    assert receipt["read_back"]["documents_looked_for"] == 1
    assert receipt["artefacts_removed"] >= 4


def test_a_restored_source_and_a_re_run_do_not_bring_it_back(world: World) -> None:
    assert world.run()
    asked = request("alpha")
    erase(world, asked)
    world.edit("alpha", None)
    assert world.run()
    ended(world, asked.erasure_id)
    world.edit("alpha", f"# Restored {SECRET}\n\nFrom a backup, with {SECRET} in it.\n")
    assert world.run()
    report = world.ledger.runs.report(f"run-{world.run_number}")
    assert report is not None
    counts = report["report"]["counts"]
    # I6: every listed document has one outcome.
    assert (counts["discovered"], counts["unchanged"], counts["erased"]) == (2, 1, 1)
    assert report["state"] == "nothing"
    assert held(world, document("alpha")) == []


@pytest.mark.parametrize(
    "point",
    [
        *("plan.make.before", "plan.make.after", "batch.begin.before", "graph.write.before", "graph.write.after"),
        *("vectors.upsert.before", "vectors.upsert.after", "batch.verified.before", "batch.verified.after"),
        *("run.publish.before", "run.publish.after", "graph.settle.before", "vectors.settle.after"),
    ],
)
def test_a_document_that_is_erased_while_a_run_loads_it_is_gone_and_the_others_go_on(world: World, point: str) -> None:
    asked = request("alpha")
    world.trap = point, lambda: erase(world, asked)
    world.run()
    assert world.trapped == 1
    assert "alpha" not in shown(world)
    world.quiet()
    # What the erase took from the run may have stopped it: then the next one is as good.
    assert world.run()
    ended(world, asked.erasure_id)


def test_a_run_whose_load_is_under_way_loses_the_erased_document_and_nothing_else(world: World) -> None:
    asked = request("alpha")
    world.trap = "vectors.upsert.after", lambda: erase(world, asked)
    assert world.run()
    assert shown(world) == {"beta"}
    report = world.ledger.runs.report(f"run-{world.run_number}")
    assert report is not None
    counts = report["report"]["counts"]
    assert (counts["discovered"], counts["committed"], counts["erased"]) == (2, 1, 1)
    ended(world, asked.erasure_id)


@pytest.mark.parametrize("late_kind", ["chunks", "vectors"])
def test_an_artefact_that_is_staged_just_after_the_erase_looked_is_taken_back(world: World, late_kind: str) -> None:
    asked = request("alpha")
    put, staging = world.adapters.staging.put, world.adapters.staging

    def late(kind: str, *args: object, **kwargs: object) -> Artefact:
        if kind == late_kind and world.ledger.versions.live() is not None and not world.ledger.erasing.unfinished():
            # The erase looks, finds nothing of this kind of the document, and only then the artefact arrives.
            erase(world, asked)
        return put(kind, *args, **kwargs)  # type: ignore[arg-type]

    staging.put = late  # type: ignore[method-assign]
    assert not world.run()
    assert "were erased while it was worked on" in "\n".join(world.log)
    for kind in ("chunks", "documents", "vectors"):
        assert [name for name, _ in world.adapters.staging.contents(kind)] == []
    staging.put = put  # type: ignore[method-assign]
    world.quiet()
    assert world.run()
    ended(world, asked.erasure_id)


def test_a_stage_that_still_needs_a_removed_artefact_fails_clearly(world: World) -> None:
    asked = request("alpha")
    world.trap = "batch.begin.before", lambda: world.die("batch.begin.before")
    assert not world.run()
    chunks = [name for name, _ in world.adapters.staging.contents("chunks")]
    assert chunks
    erase(world, asked)
    with pytest.raises(ConcordanceError, match="an erase removes those"):
        world.adapters.staging.read(Artefact("chunks", chunks[0], "", 0, 0))
    world.quiet()
    assert world.run()
    ended(world, asked.erasure_id)


def test_the_loser_s_files_torn_files_and_vectors_of_its_texts_go_too(world: World) -> None:
    assert world.run()
    staging = world.adapters.staging
    chunk = {
        **{"document_id": str(document("alpha")), "ordinal": 0, "text": f"{SECRET} again", "token_count": 2},
        **{"text_digest": ids.text_digest(f"{SECRET} again"), "heading_path": [], "mentions": "[]"},
    }
    content = tables.to_parquet([chunk], tables.CHUNKS)
    # Content without a reference, as the slower of two attempts leaves it; and a file cut off in the middle.
    staging._create(f"chunks/{ids.bytes_digest(content)}.parquet", content)
    staging._create("documents/0123.parquet", content[: len(content) // 2])
    known = next(iter(staging.contents("vectors")))[0]
    asked = request("alpha")
    erase(world, asked)
    assert held(world, document("alpha"), words=()) == []
    assert known not in {name for name, _ in staging.contents("vectors")}
    assert [name for name, _ in staging.contents("documents")] == []


def test_vectors_of_a_text_that_a_living_document_has_too_stay(world: World) -> None:
    world.edit("alpha", BETA)
    assert world.run()
    before = [name for name, _ in world.adapters.staging.contents("vectors")]
    erase(world, request("alpha"))
    assert [name for name, _ in world.adapters.staging.contents("vectors")] == before


def test_a_quarantined_document_leaves_no_detail_behind(world: World) -> None:
    world.edit(SECRET, "")
    assert world.run()
    with connect(world.settings) as connection:
        assert connection.execute(
            "SELECT count(*) FROM quarantine WHERE detail LIKE %s", [f"%{SECRET}%"]
        ).fetchone() == (1,)
    asked = request(SECRET)
    erase(world, asked)
    wait_for_the_grace(world)
    assert finish(world, asked.erasure_id).counts["quarantined"] == 1
    with connect(world.settings) as connection:
        assert connection.execute("SELECT count(*) FROM quarantine").fetchone() == (0,)
        assert SECRET not in str(connection.execute("SELECT uri FROM documents").fetchall())


def test_an_entity_that_a_living_document_names_stays_and_one_that_only_it_named_goes(world: World) -> None:
    world.shelf.names = lambda: iter(  # type: ignore[method-assign]
        [Entity(EntityType.TERM, "feldspar"), Entity(EntityType.TERM, SECRET)]
    )
    assert world.run()
    version = world.live()
    assert names(world, version) == {"feldspar", SECRET}
    asked = request("alpha")
    erase(world, asked)
    assert names(world, version) == {"feldspar"}
    wait_for_the_grace(world)
    finish(world, asked.erasure_id)
    assert is_sound(world)


def names(world: World, version: IndexVersion) -> set[str]:
    chunks = [chunk.chunk_id for chunk in world.graph.chunks(version)]
    around = world.graph.neighbourhoods(version, chunks).values()
    counted = world.graph.counts(version).rows["entities"]
    found = {entity.name for each in around for entity in each.entities}
    assert len(found) == counted
    return found


def test_every_index_version_kept_is_cleared_and_a_dropped_one_is_not_asked(world: World) -> None:
    assert world.run()
    live = world.live()
    with connect(world.settings) as connection:
        for offset, state in ((1, "retired"), (2, "building"), (3, "dropped")):
            connection.execute(
                "INSERT INTO index_versions (version, state, settings, settings_digest, frozen) "
                "SELECT version + %s, %s, settings, settings_digest, frozen FROM index_versions WHERE version = %s",
                [offset, state, live.version],
            )
    retired = IndexVersion(live.version + 1, "retired", live.settings)
    world.vectors.prepare(retired)
    # Rows of the document in a version whose ledger rows are gone: found by its id alone.
    world.graph._graphs[retired.version] = world.graph._graphs[live.version]
    assert world.graph.generations_of(retired, [document("alpha")])
    asked = request("alpha")
    erase(world, asked)
    assert world.graph.generations_of(retired, [document("alpha")]) == {}
    wait_for_the_grace(world)
    receipt = finish(world, asked.erasure_id).receipt
    assert receipt is not None
    assert receipt["read_back"]["index_versions"] == [live.version, live.version + 1, live.version + 2]


@pytest.mark.parametrize("down", ["graph", "vectors"])
def test_with_one_store_down_the_other_is_cleared_and_the_failure_is_said(world: World, down: str) -> None:
    assert world.run()
    version = world.live()
    adapters = world.adapters
    world.adapters = replace(adapters, **{down: Down(down)})  # type: ignore[arg-type]
    asked = request("alpha")
    with pytest.raises(Unavailable, match=f"hidden, not erased: {down} could not be done") as failed:
        erase(world, asked)
    assert f"erase --finish {asked.erasure_id}" in str(failed.value)
    other = world.vectors if down == "graph" else world.graph
    assert other.generations_of(version, [document("alpha")]) == {}
    assert shown(world) == {"beta"}
    wait_for_the_grace(world)
    with pytest.raises(Unavailable):
        finish(world, asked.erasure_id)
    assert world.ledger.erasing.get(asked.erasure_id).state == "hidden"
    world.adapters = adapters
    ended(world, asked.erasure_id)


def test_rows_that_a_late_writer_leaves_after_the_first_clearing_are_cleared_by_the_second(world: World) -> None:
    asked = request("alpha")
    adapters = world.adapters
    graph, vectors = Recorded(world.graph), Recorded(world.vectors)
    world.adapters = replace(adapters, graph=graph, vectors=vectors)  # type: ignore[arg-type]
    assert world.run()
    world.adapters = adapters
    erase(world, asked)
    for work in (*graph.late, *vectors.late):
        work()
    assert held(world, document("alpha"), words=()) == ["graph of version 1", "vectors of version 1"]
    ended(world, asked.erasure_id)


def test_what_is_still_there_at_the_last_look_keeps_the_erasure_hidden(world: World) -> None:
    assert world.run()
    asked = request("alpha")
    erase(world, asked)
    wait_for_the_grace(world)
    swept = world.vectors.sweep
    batch = world.vectors._collections[world.live().version]
    ghost = next(iter(batch.points.values()))
    world.vectors.sweep = lambda *args, **kwargs: None  # type: ignore[method-assign]
    batch.upsert([replace(ghost, chunk_id=UUID(int=7), document_id=document("alpha"), generation=9)])
    with pytest.raises(Unavailable, match="still hold 1 rows"):
        finish(world, asked.erasure_id)
    assert world.ledger.erasing.get(asked.erasure_id).state == "hidden"
    world.vectors.sweep = swept  # type: ignore[method-assign]
    ended(world, asked.erasure_id)


def test_a_tenant_s_erasure_takes_all_of_its_documents(world: World) -> None:
    assert world.run()
    asked = request(tenant="acme")
    erase(world, asked)
    wait_for_the_grace(world)
    assert finish(world, asked.erasure_id).counts["documents"] == 2
    version = world.live()
    assert set(world.graph.counts(version).rows.values()) == {0}
    assert world.vectors.counts(version).rows == {"points": 0}
    assert world.run()
    assert shown(world) == set()


def test_what_nobody_finished_is_finished_by_the_clock(world: World) -> None:
    assert world.run()
    erase(world, request("alpha"))
    tools: Any = {"adapters": world.adapters, "settings": world.settings}
    assert finish_due(**tools) == []
    wait_for_the_grace(world)
    erase(world, request("gamma/one"))
    (erased,) = finish_due(**tools)
    assert (erased.is_erased, erased.scope.uri) == (True, "alpha")
    assert held(world, document("alpha")) == []


def test_a_ledger_that_was_lost_bars_again_what_it_had_barred(world: World, stack: Settings) -> None:
    assert world.run()
    asked = request("alpha")
    erase(world, asked)
    ended(world, asked.erasure_id)
    empty_ledger(stack).close()
    world.graph, world.vectors = MemoryGraph(), MemoryVectors()
    world.adapters = replace(world.adapters, graph=world.graph, vectors=world.vectors)
    assert restore_bars(world.adapters) == 1
    assert restore_bars(world.adapters) == 0
    assert world.run()
    assert shown(world) == {"beta"}
    (bars,) = [name for name, _ in world.adapters.staging.contents("bars")]
    world.adapters.staging._remove(bars)
    world.adapters.staging._create(bars, b"[]")
    with pytest.raises(Corrupt, match="says which documents are erased"):
        restore_bars(world.adapters)


def test_an_erasure_of_nothing_known_still_bars_the_document_that_it_names(world: World) -> None:
    asked = request("gamma/one")
    erase(world, asked)
    world.edit("gamma/one", f"# Gamma\n\nOnly now, with {SECRET}.\n")
    assert world.run()
    assert shown(world) == {"alpha", "beta"}
    with pytest.raises(Conflict, match="another scope"):
        erase(world, type(asked)(asked.erasure_id, request("beta").scope, "ann", ""))
