"""F21: a gate that fails, for a few documents, for all, or by itself; and I6 over a run with every kind of failure.

Whole runs on the memory stores and a real ledger, gates included. Whatever a gate says, readers see nothing of a run
before all gates have passed, and what was current stays as it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pytest

from concordance import fault_points
from concordance.embedding.hashing import HashEmbedder
from concordance.errors import GateFailed, PoisonDocument
from concordance.ledger import Ledger
from concordance.model import GenerationKey, RawDocument, Reason
from concordance.operations import correlation
from concordance.parsing.parser import Parser
from concordance.pipeline.references import RunReport, RunRequest
from concordance.pipeline.run import ingest
from concordance.quality import suites
from concordance.settings import Settings
from concordance.staging import Artefact
from simulation.world import POISON, SOURCE, Killed, Shelf, World, quick_settings
from support.ledgers import connect

TEXT = "# Note {number}\n\nStone {number} lies in the river and says so in edition {edition}.\n"
DOCUMENTS = 20


def notes(edition: int) -> dict[str, str]:
    return {f"note-{number:02}": TEXT.format(number=number, edition=edition) for number in range(DOCUMENTS)}


@pytest.fixture
def world(ledger: Ledger, stack: Settings, parser: Parser) -> World:
    """Twenty notes that are current, and an edit of each that is not yet loaded."""
    world = World(ledger, quick_settings(stack), seed=0, parser=parser)
    world.shelf.documents.update(notes(0))
    with world.turning():
        assert world.run()
    world.shelf.documents.update(notes(1))
    return world


def run(world: World) -> RunReport:
    world.run_number += 1
    request = RunRequest(SOURCE, f"run-{world.run_number}", approved=True)
    return ingest(request, adapters=world.adapters, settings=world.settings)


def visible(world: World) -> tuple[Any, ...]:
    """All that a reader may see: by the ledger, and by the raw views of the stores."""
    version = world.live()
    with world.ledger.snapshot() as snapshot:
        committed = sorted(snapshot.committed(version), key=lambda chunk: chunk.chunk_id)
    anchors = sorted(world.graph.documents(version), key=lambda anchor: anchor.document_id)
    return committed, anchors, world.graph.live_chunks(version), world.vectors.live_points(version)


def stops(world: World, match: str) -> None:
    """A run of the edited notes is stopped by a gate, and nothing of it can be seen."""
    before = visible(world)
    with pytest.raises(GateFailed, match=match):
        run(world)
    assert visible(world) == before
    assert len(before[0]) >= DOCUMENTS
    world.read_as_an_application()


def limited(world: World, **limits: Any) -> None:
    world.settings = world.settings.model_copy(update=limits)


class Moved(HashEmbedder):
    """The same fingerprint, and other vectors: a library that was upgraded behind the model's back."""

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        return np.ascontiguousarray(super().encode(texts)[:, ::-1])


@pytest.mark.fault("F21", engine="memory")
def test_documents_that_all_fail_their_gate_stop_the_run(world: World) -> None:
    limited(world, min_text_characters=1000)
    stops(world, "The gate documents rejected 20 of 20 documents")


@pytest.mark.fault("F21", engine="memory")
def test_one_document_in_twenty_that_fails_goes_to_quarantine_and_the_others_are_committed(world: World) -> None:
    limited(world, min_text_characters=40)
    world.shelf.documents["note-07"] = "# Seven\n\nShort.\n"
    report = run(world)
    assert (report.counts["committed"], report.counts["quarantined"]) == (DOCUMENTS - 1, 1)


@pytest.mark.fault("F21", engine="memory")
def test_an_encoder_that_moved_stops_the_run_before_anything_is_written(world: World) -> None:
    world.adapters = replace(world.adapters, embedder=Moved(dimension=16))
    rows = world.graph.counts(world.live()), world.vectors.counts(world.live())
    stops(world, "canary_distance")
    assert (world.graph.counts(world.live()), world.vectors.counts(world.live())) == rows


class Loud(HashEmbedder):
    """Has too long a vector for a marked word."""

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        lengths = np.array([[2 if "loud" in text else 1] for text in texts], dtype=np.float32)
        return super().encode(texts) * lengths


def dies_in(stage: str, wanted: str) -> Callable[[str], None]:
    def hook(point: str) -> None:
        if point == wanted and correlation.carried().fields["stage"] == stage:
            raise Killed(point)

    return hook


@pytest.mark.fault("F21", engine="memory")
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_run_that_dies_with_its_verdict_on_a_bad_vector_goes_on_without_that_document(
    world: World, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    # What looks at vectors before the gate finds nothing: the artefact keeps the bad one, also for the second attempt.
    monkeypatch.setattr("concordance.pipeline.embed.bad_rows", lambda _: {})
    world.adapters = replace(world.adapters, embedder=Loud(dimension=16))
    world.shelf.documents["note-07"] = "# Seven\n\nThis text is loud to the model.\n"
    with fault_points.hooked(dies_in("check_chunks", f"plan.quarantine.{moment}")), pytest.raises(Killed):
        run(world)
    verdict = world.ledger.verdicts.newest(run_id=f"run-{world.run_number}", gate="chunks")
    assert (verdict is None) is (moment == "before")
    world.run_number -= 1
    counts = run(world).counts
    assert (counts["committed"], counts["quarantined"]) == (DOCUMENTS - 1, 1)
    assert outcomes(world)["note-07"] == ("quarantined", str(Reason.BAD_VECTOR))
    world.read_as_an_application()


@pytest.mark.fault("F21", engine="memory")
@pytest.mark.parametrize("name", ["documents_suite", "chunks_suite", "stores_suite"])
def test_a_gate_that_itself_raises_stops_the_run(world: World, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret words")

    monkeypatch.setattr(suites, name, broken)
    stops(world, "itself failed with RuntimeError at test_failed_gates.py")
    # That is its verdict, and it is kept like any other, for the page that its task leads to.
    verdict = world.ledger.verdicts.newest(run_id=f"run-{world.run_number}", gate=name.removesuffix("_suite"))
    assert verdict is not None
    kept = json.loads(world.adapters.staging.read(Artefact.from_json(verdict.artefact)))
    assert kept["passed"] is False
    assert "RuntimeError" in kept["message"]
    assert "secret" not in str(kept)


def after_load(damage: Callable[[], object]) -> Callable[[str], None]:
    """Something damages the graph once the run's last batch is verified."""
    left = [damage]

    def hook(point: str) -> None:
        if point == "batch.verified.after" and left:
            left.pop()()

    return hook


def lose(world: World, *, current: bool) -> None:
    """The graph loses a chunk: of what is current of the run's documents, or of what the run wrote."""
    version = world.live()
    with world.ledger.snapshot() as snapshot:
        shown = {GenerationKey(chunk.document_id, chunk.generation) for chunk in snapshot.committed(version)}
    lost = next(
        chunk
        for chunk in world.graph.scan(version)
        if (GenerationKey(chunk.document_id, chunk.generation) in shown) is current
    )
    world.graph.remove(version, [lost.chunk_id], timeout_seconds=30)


@pytest.mark.fault("F21", engine="memory")
@pytest.mark.parametrize(
    ("current", "match"), [(True, "current generations: .*counts by source: "), (False, "counts by source: ")]
)
def test_a_chunk_that_a_store_lost_before_publish_stops_the_run(world: World, current: bool, match: str) -> None:
    before = visible(world)[0]
    with (
        fault_points.hooked(after_load(lambda: lose(world, current=current))),
        pytest.raises(GateFailed, match=match),
    ):
        run(world)
    assert visible(world)[0] == before


@pytest.mark.fault("F21", engine="memory")
def test_a_damaged_document_that_waits_for_a_new_load_does_not_keep_the_run_from_loading_it(world: World) -> None:
    version = world.live()
    lose(world, current=True)
    with connect(world.settings) as connection:
        # What reconcile does when it cannot put the rows right in place.
        connection.execute("UPDATE generations SET is_damaged = true WHERE index_version = %s", [version.version])
    assert run(world).counts["committed"] == DOCUMENTS


def test_a_version_from_before_the_canaries_gives_a_notice_and_its_runs_pass(world: World) -> None:
    with connect(world.settings) as connection:
        connection.execute("UPDATE index_versions SET frozen = frozen - 'canaries'")
    world.adapters = replace(world.adapters, embedder=Moved(dimension=16))
    report = run(world)
    assert report.counts["committed"] == DOCUMENTS
    assert any("made before canary texts were kept" in notice for notice in report.notices)


def test_a_jump_against_the_last_runs_is_a_notice_of_the_run_or_stops_it(world: World) -> None:
    usual = {"checked_documents": 20.0, "chunk_characters": 400.0, "entities_per_chunk": 0.0}
    with world.turning():
        for edition in (2, 3, 4):
            world.shelf.documents.update(notes(edition))
            assert world.run()
            world.ledger.verdicts.record(
                plan_of(world), "chunks", {}, figures=usual, warnings=(), rejections=(), rejected_under=""
            )
    world.shelf.documents.update(notes(5))
    (notice,) = run(world).notices
    assert notice.startswith("The mean length of a chunk in characters is")
    world.shelf.documents.update(notes(6))
    limited(world, jumps_stop=True)
    stops(world, "stops the run, as the setting jumps_stop says")


def plan_of(world: World) -> UUID:
    """The plan of the last run."""
    with connect(world.settings) as connection:
        row = connection.execute("SELECT plan_id FROM plans WHERE run_id = %s", [f"run-{world.run_number}"]).fetchone()
    assert row is not None
    return UUID(str(row[0]))


ENGLISH = "The keeper of the harbour writes down each ship that enters, and each that leaves it again. " * 4
GERMAN = "Der Waechter des Hafens schreibt jedes Schiff auf, das hereinkommt, und jedes, das geht. " * 4
# What goes wrong with a document, and where it ends; the texts without a reason pass.
DOCUMENTS_OF_ALL_KINDS: dict[str, tuple[str | bytes, Reason | None]] = {
    "good": ("# Good\n\nA stone in the river.\n", None),
    "english": (f"# English\n\n{ENGLISH}", None),
    "equal-1": ("# Log in\n\nPlease give your name and your password.\n", None),
    "equal-2": ("# Log in\n\nPlease give your name and your password.\n", Reason.DUPLICATE_CONTENT),
    "equal-3": ("# Log in\n\nPlease give your name and your password.\n", Reason.DUPLICATE_CONTENT),
    "gone": (b"", Reason.EMPTY),
    "binary": (b"\x00\x01\x02\x03" * 100, Reason.UNKNOWN_FORMAT),
    "silent": ("\n\n---\n\n", Reason.NO_TEXT),
    "torn-pdf": (b"%PDF-1.7 and then nothing of a PDF", Reason.PARSER_FAILED),
    "short": ("# S\n\nNo.\n", Reason.GATE_DOCUMENTS),
    "mojibake": ("# Garbled\n\n" + "naïve café à côté, ".encode().decode("latin-1") * 9, Reason.ENCODING_DAMAGE),
    "german": (f"# Deutsch\n\n{GERMAN}", Reason.WRONG_LANGUAGE),
    "no-vector": ("# Mute\n\nThis text is numb to the model.\n", Reason.BAD_VECTOR),
    "refused": (f"# Refused\n\nThis text holds {POISON}.\n", Reason.STORE_REFUSED),
}


@dataclass
class MixedShelf(Shelf):
    """A shelf some of whose documents are bytes."""

    contents: dict[str, bytes] = field(default_factory=dict)

    def read(self, uri: str) -> RawDocument:
        return RawDocument(uri, self.contents[uri]) if uri in self.contents else super().read(uri)


class Numb(HashEmbedder):
    """Has no vector for a marked word."""

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        if any("numb" in text for text in texts):
            raise PoisonDocument("a text gave no vector", reason=Reason.BAD_VECTOR)
        return super().encode(texts)


@pytest.fixture
def mixed(ledger: Ledger, stack: Settings, parser: Parser) -> World:
    limits = {"max_equal_documents": 2, "min_text_characters": 12, "max_quarantined_fraction": 1.0}
    shelf = MixedShelf()
    shelf.declaration = shelf.declaration.model_copy(update={"languages": ("en",)})
    world = World(ledger, quick_settings(stack).model_copy(update=limits), seed=0, parser=parser, shelf=shelf)
    world.adapters = replace(world.adapters, embedder=Numb(dimension=16))
    return world


def outcomes(world: World) -> dict[str, tuple[str, str | None]]:
    """Outcome and reason of each document of the last plan, by uri."""
    with connect(world.settings) as connection:
        rows = connection.execute(
            "SELECT d.uri, pd.outcome, pd.reason FROM plan_documents pd JOIN documents d USING (document_id) "
            "JOIN plans p USING (plan_id) WHERE p.run_id = %s",
            [f"run-{world.run_number}"],
        ).fetchall()
    return {row[0]: (row[1], row[2]) for row in rows}


@pytest.mark.fault("F21", engine="memory")
def test_in_a_run_with_every_kind_of_failure_each_document_has_exactly_one_outcome(mixed: World) -> None:
    shelf = mixed.shelf
    assert isinstance(shelf, MixedShelf)
    shelf.documents.update({"as-it-was": "# Old\n\nNothing changes here.\n", "goes-away": "# Away\n\nGone soon.\n"})
    shelf.documents.update({"waits": "# W\n\nNo!\n", "edited": "# Edited\n\nBefore.\n"})
    first = run(mixed)
    assert (first.counts["committed"], first.counts["quarantined"]) == (3, 1)
    del shelf.documents["goes-away"]
    shelf.documents.update({"edited": "# Edited\n\nAfter the edit.\n", "is-erased": "# Secret\n\nTo be erased.\n"})
    for uri, (content, _) in DOCUMENTS_OF_ALL_KINDS.items():
        shelf.documents[uri] = content if isinstance(content, str) else f"{len(content)} bytes"
        if isinstance(content, bytes):
            shelf.contents[uri] = content

    def erases(point: str) -> None:
        if point == "run.publish.before":
            assert mixed.erase("is-erased")

    with fault_points.hooked(erases):
        counts = run(mixed).counts
    expected: dict[str, tuple[str, str | None]] = {
        uri: ("committed", None) if reason is None else ("quarantined", str(reason))
        for uri, (_, reason) in DOCUMENTS_OF_ALL_KINDS.items()
    }
    expected |= {"edited": ("committed", None), "is-erased": ("erased", None), "goes-away": ("deleted", None)}
    assert outcomes(mixed) == expected
    quarantined = sum(outcome == "quarantined" for outcome, _ in expected.values())
    assert (counts["committed"], counts["quarantined"], counts["erased"]) == (4, quarantined, 1)
    assert (counts["unchanged"], counts["still_quarantined"], counts["deleted"]) == (1, 1, 1)
    ended = counts["committed"] + counts["quarantined"] + counts["erased"] + counts.get("superseded", 0)
    assert counts["discovered"] == ended + counts["unchanged"] + counts["still_quarantined"] == len(shelf.documents)
