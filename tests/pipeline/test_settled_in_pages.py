"""However large a run is, one transaction of the graph shows, hides or sweeps a bounded part of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from uuid import uuid4

import pytest

from concordance import fault_points
from concordance.consistency.erase import EraseRequest, erase
from concordance.ledger import Ledger
from concordance.ledger.erasure_scope import Scope
from concordance.parsing.parser import Parser
from concordance.settings import Settings
from simulation.world import SOURCE
from support.small_house import SmallHouse

MAX_CHUNKS = 4
SMALL = {f"small-{number}.md": f"# Small {number}\n\nA ledger keeps note {number}.\n" for number in range(8)}
LARGE = "# Large\n\n" + "\n\n".join(
    f"## Part {number}\n\n" + " ".join(f"word{number}x{each}" for each in range(25)) for number in range(12)
)


@pytest.fixture
def house(ledger: Ledger, stack: Settings, tmp_path: Path, parser: Parser) -> SmallHouse:
    settings = stack.model_copy(update={"settle_chunks": MAX_CHUNKS})
    return SmallHouse(ledger, settings, staging=tmp_path / "staging", parser=parser)


@pytest.fixture
def passed() -> Counter[str]:
    return Counter()


def test_many_small_documents_and_a_large_one_are_shown_page_by_page(house: SmallHouse, passed: Counter[str]) -> None:
    house.texts.update(SMALL, **{"large.md": LARGE})
    with fault_points.hooked(lambda point: passed.update([point])):
        house.run()
    chunks = {uri: len(digests) for uri, digests in house.digests().items()}
    assert chunks["large.md"] > MAX_CHUNKS
    assert {chunks[uri] for uri in SMALL} == {1}
    # By document id the large one lies anywhere between the small ones, and is a page of its own.
    assert 3 <= passed["graph.settle.before"] == passed["generation.settled.after"] <= 4
    assert house.check().is_sound


def test_what_is_gone_is_hidden_and_swept_page_by_page(house: SmallHouse, passed: Counter[str]) -> None:
    house.texts.update(SMALL, **{"large.md": LARGE})
    house.run()
    house.texts.clear()
    house.texts["stays.md"] = "# Stays\n\nThe last one.\n"
    with fault_points.hooked(lambda point: passed.update([point])):
        house.run()
        # One more shows the new document.
        assert 3 + 1 <= passed["graph.settle.before"] <= 4 + 1
        house.wait_and_sweep()
    # The last look at the ledger finds nothing to sweep.
    assert 3 <= passed["graph.sweep.before"] == passed["vectors.sweep.before"] <= 4
    assert set(house.digests()) == {"stays.md"}
    assert house.check().is_sound


def test_what_is_erased_leaves_both_stores_page_by_page(house: SmallHouse, passed: Counter[str]) -> None:
    house.texts.update(SMALL, **{"large.md": LARGE})
    house.run()
    with fault_points.hooked(lambda point: passed.update([point])):
        erase(
            EraseRequest(uuid4(), Scope(source=SOURCE, pattern="*"), requested_by="us", reason="asked for"),
            adapters=house.adapters,
            settings=house.settings,
        )
    assert passed["graph.erase.before"] >= 3
    assert house.digests() == {}
