"""I5 across swaps: who reads in a steady stream notices nothing but that the version is another one."""

from __future__ import annotations

import random
import time
from itertools import cycle, pairwise
from pathlib import Path

import pytest

from concordance.embedding.hashing import HashEmbedder
from concordance.ledger import Ledger
from concordance.parsing.parser import Parser
from concordance.pipeline.adapters import Adapters
from concordance.reindex.swap import rollback
from concordance.settings import Settings
from support import trials
from support.readers import Query, Reader, readers
from support.rebuilding import made_ungated, swapped
from support.shelves import Shelf, assert_agree, make_shelf, run_ungated
from support.trials import RecordTrials

SWAPS = trials.count(4, full=20)
APPLICATIONS, RAW = (4, 2) if trials.is_full() else (2, 1)
DOCUMENTS, ASKED = 40, 12
# Each reader must have so many answers between two swaps. Those that a swap overtook are counted besides.
ANSWERS = 3
# A search may take long where two cores are shared: nobody's lease, and nobody's grace, ends meanwhile.
PATIENT = {
    "lease_seconds": 120,
    "call_timeout_seconds": 60,
    "reader_timeout_seconds": 60,
    "sweep_grace_seconds": 600,
    "batch_chunks": 200,
}
FIRST, OTHER = 384, 128  # dimensions: two models
OTHER_MODEL = {"hash_dimension": OTHER, "kept_models": f"hash={FIRST}"}


@pytest.fixture
def shelf(stack: Settings, ledger: Ledger, tmp_path: Path) -> Shelf:
    shelf = make_shelf(stack, tmp_path, documents=0, **PATIENT)
    for number in range(DOCUMENTS):
        _write(shelf, number)
    return shelf


def _write(shelf: Shelf, number: int, edition: int = 0) -> None:
    """A note of a few chunks that says a word of its own."""
    parts = [
        f"The {_word(number)} of part {part} stands by the river, edition {edition}, and keeps its stone for the night."
        for part in range(6)
    ]
    text = "\n\n".join([f"# Note {number}", *parts, f"See [next](note-{number + 1}.md)."])
    (shelf.notes / f"note-{number}.md").write_text(f"{text}\n")


def _word(number: int) -> str:
    return f"ember{chr(ord('a') + number // 10)}{chr(ord('a') + number % 10)}"


def _queries() -> list[Query]:
    """For documents that no ingest of this test touches: they are in every version at any time."""
    models = [HashEmbedder(FIRST), HashEmbedder(OTHER)]
    texts = [f"the {_word(number)} by the river" for number in range(ASKED)]
    encoded = {model.fingerprint.digest: model.encode(texts).tolist() for model in models}
    return [
        Query(text, f"note-{number}.md", {model: vectors[number] for model, vectors in encoded.items()})
        for number, text in enumerate(texts)
    ]


def _versions(shelf: Shelf, parser: Parser) -> list[int]:
    """Live one after the other: the first version, one that is cut otherwise, and one of another model."""
    with shelf.adapters(parser) as adapters:
        run_ungated("first", adapters=adapters)
        first = _live(adapters)
        cut = swapped(made_ungated("cut-otherwise", adapters=adapters, chunk_max_tokens=60), adapters=adapters)
    with shelf.adapters(parser, **OTHER_MODEL) as adapters:
        model = swapped(made_ungated("another-model", adapters=adapters), adapters=adapters)
    return [first, cut.version, model.version]


def _live(adapters: Adapters) -> int:
    live = adapters.ledger.versions.live()
    assert live is not None
    return live.version


def _ingest(shelf: Shelf, dice: random.Random, edition: int, adapters: Adapters) -> None:
    """Some notes are edited and one is deleted: the retired versions are behind from then on."""
    for number in dice.sample(range(ASKED, DOCUMENTS), 5):
        _write(shelf, number, edition)
    shelf.remove(dice.randrange(ASKED, DOCUMENTS))
    assert run_ungated(f"between-{edition}", adapters=adapters).state == "published"


def _check(reader: Reader, swaps: list[tuple[float, float]], live: list[int]) -> None:
    """Before and after each swap there are answers, all of what was live then, and one at least that began before its
    end and ended after its beginning."""
    seen = reader.seen()
    ends = [0.0, *(ended for _, ended in swaps)]
    begins = [*(began for began, _ in swaps), time.monotonic()]
    for start, end, version in zip(ends, begins, live, strict=True):
        between = [one for one in seen if start < one.began and one.ended < end]
        assert len(between) >= ANSWERS
        assert {one.answer.versions for one in between} == {(version,)}
    for (began, ended), (before, after) in zip(swaps, pairwise(live), strict=True):
        during = [one for one in seen if one.began < ended and one.ended > began]
        assert during, f"{reader.path.name} asked nothing while {after} took the place of {before}"
        assert {one.answer.versions for one in during} <= {(before,), (after,)}


@pytest.mark.timeout(1800)
def test_whoever_searches_across_swaps_gets_whole_answers_of_one_version_each_and_no_error(
    shelf: Shelf, parser: Parser, record_trials: RecordTrials
) -> None:
    versions = _versions(shelf, parser)
    dice, targets = random.Random(trials.seeds(1, full=1).start), cycle(versions)
    swaps, live = [], [versions[-1]]
    folder = shelf.folder / "readers"
    with (
        shelf.adapters(parser, **OTHER_MODEL) as adapters,
        readers(
            shelf.settings_file, _queries(), folder, applications=APPLICATIONS, raw=RAW, versions=versions
        ) as reading,
    ):
        reading.await_answers(ANSWERS, after=0.0)
        for number in range(SWAPS):
            record_trials("I5", engine="embedded")
            if number % 3 == 1:
                _ingest(shelf, dice, number, adapters)
            began = time.monotonic()
            rollback(adapters.ledger.versions.get(next(targets)), adapters=adapters, settings=adapters.settings)
            swaps.append((began, time.monotonic()))
            live.append(_live(adapters))
            reading.await_answers(ANSWERS, after=swaps[-1][1])
        assert live[1:] == [version for version, _ in zip(cycle(versions), swaps, strict=False)]
        for reader in reading.all:
            _check(reader, swaps, live)
        run_ungated("last", adapters=adapters)
        assert_agree(adapters=adapters, documents=shelf.documents)
