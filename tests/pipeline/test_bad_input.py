"""Whole runs, gates included, over what goes wrong: the bad document waits in quarantine, the others are committed, and
nothing that was current is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from concordance import ids
from concordance.consistency.verify import verify
from concordance.embedding.hashing import HashEmbedder
from concordance.errors import GateFailed, Misconfigured, PoisonDocument, Unavailable
from concordance.ledger import Ledger
from concordance.model import ModelFingerprint, RawDocument, Reason
from concordance.parsing.parser import Parser
from concordance.pipeline.references import RunReport, RunRequest
from concordance.pipeline.run import ingest
from concordance.settings import Settings
from simulation.world import SOURCE, Chance, World, quick_settings
from support.ledgers import connect

GOOD = {f"good-{number}": f"# Good {number}\n\nA stone in the river, number {number}.\n" for number in range(6)}


class FaultyEmbedder(HashEmbedder):
    """Hash vectors, but for texts that hold a marked word."""

    def __init__(self, fault: str) -> None:
        super().__init__(dimension=16)
        self.fault = fault

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        vectors = super().encode(texts)
        if self.fault == "wide":
            return np.hstack([vectors, vectors])
        for row, text in enumerate(texts):
            if "poison" not in text:
                continue
            if self.fault == "raises":
                raise PoisonDocument("a text gave no vector", reason=Reason.BAD_VECTOR)
            vectors[row] = {"nan": np.nan, "zero": 0.0, "long": 3.0}[self.fault]
        return vectors


class OtherModel(HashEmbedder):
    @property
    def fingerprint(self) -> ModelFingerprint:
        return replace(super().fingerprint, revision="another")


@pytest.fixture
def world(ledger: Ledger, stack: Settings, parser: Parser) -> World:
    world = World(ledger, quick_settings(stack), seed=0, parser=parser)
    world.shelf.documents.update(GOOD)
    return world


def run(world: World, **given: object) -> RunReport:
    world.run_number += 1
    request = RunRequest(SOURCE, f"run-{world.run_number}", **given)  # type: ignore[arg-type]
    return ingest(request, adapters=world.adapters, settings=world.settings)


def quarantine(world: World) -> dict[str, str]:
    """Reason codes by uri."""
    with connect(world.settings) as connection:
        rows = connection.execute("SELECT uri, reason FROM quarantine JOIN documents USING (document_id)").fetchall()
    return {str(uri): str(reason) for uri, reason in rows}


def current(world: World) -> dict[str, int]:
    with world.ledger.snapshot() as snapshot:
        everything = [ids.document_id(tenant="acme", source=SOURCE, uri=uri) for uri in (*GOOD, "bad")]
        return {row.uri: row.generation for row in snapshot.documents(snapshot.live(), everything).values()}


def with_embedder(world: World, embedder: HashEmbedder) -> None:
    world.adapters = replace(world.adapters, embedder=embedder)


def conserved(report: RunReport) -> bool:
    """I6: every discovered document has exactly one outcome."""
    counts = report.counts
    ended = sum(counts.get(name, 0) for name in ("committed", "quarantined", "superseded", "erased"))
    return counts["discovered"] == ended + counts["unchanged"] + counts["still_quarantined"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", Reason.EMPTY),
        (b"\x00\x01\x02\x03" * 100, Reason.UNKNOWN_FORMAT),
        (b"\n\n---\n\n", Reason.NO_TEXT),
        (b"%PDF-1.7 and then nothing of a PDF", Reason.PARSER_FAILED),
    ],
)
def test_a_bad_document_waits_in_quarantine_and_the_others_are_committed(
    world: World, monkeypatch: pytest.MonkeyPatch, content: bytes, reason: Reason
) -> None:
    world.shelf.documents["bad"] = "something"
    read = world.shelf.read
    monkeypatch.setattr(
        world.shelf, "read", lambda uri: RawDocument(uri, content) if uri == "bad" else read(uri), raising=True
    )
    report = run(world)
    assert (report.counts["committed"], report.counts["quarantined"]) == (len(GOOD), 1)
    assert conserved(report)
    assert quarantine(world) == {"bad": reason}
    assert current(world).keys() == GOOD.keys()
    again = run(world)
    if reason is Reason.EMPTY:
        # Nothing was read of it, which says nothing about its content: it is read again.
        assert (again.state, again.counts["quarantined"]) == ("published", 1)
    else:
        assert (again.state, again.counts["still_quarantined"]) == ("nothing", 1)
    assert quarantine(world) == {"bad": reason}


@pytest.mark.parametrize("fault", ["nan", "zero", "long", "raises"])
def test_a_text_without_a_sound_vector_sends_its_document_to_quarantine(world: World, fault: str) -> None:
    with_embedder(world, FaultyEmbedder(fault))
    world.shelf.documents["bad"] = "# Bad\n\nThis text is poison.\n"
    report = run(world)
    assert report.counts["committed"] == len(GOOD)
    assert quarantine(world) == {"bad": Reason.BAD_VECTOR}
    assert conserved(report)
    assert verify(ledger=world.ledger, graph=world.graph, vectors=world.vectors).is_sound


def test_a_document_that_turns_bad_keeps_what_was_current(world: World) -> None:
    with_embedder(world, FaultyEmbedder("nan"))
    world.shelf.documents["bad"] = "# Bad\n\nStill good.\n"
    run(world)
    world.shelf.documents["bad"] = "# Bad\n\nNow poison.\n"
    report = run(world)
    assert report.counts["quarantined"] == 1
    assert current(world)["bad"] == 1
    world.shelf.documents["bad"] = "# Bad\n\nGood again.\n"
    assert run(world).counts["committed"] == 1
    assert quarantine(world) == {}


def test_vectors_of_another_dimension_stop_the_run_and_name_the_setting(world: World) -> None:
    with_embedder(world, FaultyEmbedder("wide"))
    with pytest.raises(Misconfigured, match="MODEL_DIR"):
        run(world)
    assert world.ledger.versions.live() is None
    with_embedder(world, HashEmbedder(dimension=16))
    run(world)
    with_embedder(world, FaultyEmbedder("wide"))
    world.shelf.documents["bad"] = "# Bad\n\nThis text is poison.\n"
    with pytest.raises(Misconfigured, match="MODEL_DIR"):
        run(world)
    assert "bad" not in current(world)


def test_another_model_is_refused_before_the_first_write(world: World) -> None:
    run(world)
    with_embedder(world, OtherModel(dimension=16))
    world.shelf.documents["good-0"] += "\nEdited.\n"
    before = world.vectors.counts(world.live())
    with pytest.raises(Misconfigured, match="built with the model"):
        run(world)
    assert world.vectors.counts(world.live()) == before
    assert current(world)["good-0"] == 1


def test_too_many_rejected_documents_stop_the_run_and_nothing_is_visible(world: World) -> None:
    settings = world.settings.model_copy(update={"max_quarantined_fraction": 0.1, "min_text_characters": 10_000})
    world.settings = settings
    with pytest.raises(GateFailed, match="nothing of it is visible"):
        run(world)
    assert current(world) == {}


def test_too_many_texts_without_a_vector_stop_the_run_as_well(world: World) -> None:
    with_embedder(world, FaultyEmbedder("nan"))
    world.shelf.documents = {uri: text + "\nAll poison.\n" for uri, text in GOOD.items()}
    with pytest.raises(GateFailed, match="6 of its 6 documents were rejected, more than the allowed 3"):
        run(world)
    assert current(world) == {}


def test_a_store_that_is_down_fails_the_run_clearly_and_the_same_run_goes_on_when_it_is_back(world: World) -> None:
    world.chance = Chance(fails=1.0)
    with pytest.raises(Unavailable):
        run(world)
    world.chance = Chance()
    world.run_number -= 1
    assert run(world).counts["committed"] == len(GOOD)
    assert verify(ledger=world.ledger, graph=world.graph, vectors=world.vectors).is_sound


def test_a_source_that_lost_most_of_its_documents_deletes_nothing_until_a_person_allows_it(world: World) -> None:
    run(world)
    for uri in list(GOOD)[:4]:
        del world.shelf.documents[uri]
    refused = run(world)
    assert refused.state == "refused"
    assert "--approve" in refused.notices[-1]
    assert current(world).keys() == GOOD.keys()
    assert run(world, approved=True).counts["deleted"] == 4
    assert current(world).keys() == world.shelf.documents.keys()


def test_a_run_that_only_deletes_passes_its_gates(world: World) -> None:
    run(world)
    del world.shelf.documents["good-0"]
    report = run(world, approved=True)
    assert (report.state, report.counts["deleted"]) == ("published", 1)
    assert verify(ledger=world.ledger, graph=world.graph, vectors=world.vectors).is_sound


def test_a_listing_that_breaks_off_deletes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run(world)

    def broken(subpath: str = "") -> object:
        yield next(iter(type(world.shelf).list(world.shelf, subpath)))
        raise Unavailable("the share went away")

    monkeypatch.setattr(world.shelf, "list", broken)
    with pytest.raises(Unavailable, match="went away"):
        run(world)
    assert current(world).keys() == GOOD.keys()


def test_a_dry_run_writes_nothing_and_says_what_a_run_would_do(world: World) -> None:
    report = run(world, dry_run=True)
    assert (report.state, report.counts["added"]) == ("planned", len(GOOD))
    assert current(world) == {}
    assert world.graph.counts(world.live()).rows["chunks"] == 0


def test_a_limited_run_takes_some_and_the_next_one_the_others(world: World) -> None:
    first = run(world, max_documents=4)
    assert (first.counts["committed"], first.counts["postponed"]) == (4, len(GOOD) - 4)
    assert run(world).counts["committed"] == len(GOOD) - 4


def test_settings_that_change_in_mid_run_are_refused(world: World) -> None:
    from concordance.pipeline.extract import extract
    from concordance.pipeline.plan import make_plan

    plan = make_plan(RunRequest(SOURCE, "run-x"), adapters=world.adapters, settings=world.settings)
    moved = world.settings.model_copy(update={"batch_chunks": 7})
    with pytest.raises(Misconfigured, match="start a new run"):
        extract(plan, 0, adapters=world.adapters, settings=moved)


def test_a_rename_embeds_nothing_and_an_edit_only_what_is_new(world: World) -> None:
    run(world)
    world.shelf.documents["renamed"] = world.shelf.documents.pop("good-0")
    renamed = run(world, approved=True)
    assert (renamed.counts["committed"], renamed.counts["deleted"], renamed.counts["embedded"]) == (1, 1, 0)
    world.shelf.documents["good-1"] += "\n## One more section\n\nOf a few words.\n"
    edited = run(world)
    assert edited.counts["embedded"] == 1
    assert edited.counts["reused"] >= 1


def test_two_documents_with_equal_content_are_two_documents_with_one_vector(world: World) -> None:
    world.shelf.documents = {"one": GOOD["good-0"], "two": GOOD["good-0"]}
    report = run(world)
    assert (report.counts["committed"], report.counts["embedded"]) == (2, 1)
    assert verify(ledger=world.ledger, graph=world.graph, vectors=world.vectors).is_sound
