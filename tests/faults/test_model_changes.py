"""F20: another embedding model, dimension or revision half-way is refused before the first write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from concordance.embedding.hashing import HashEmbedder
from concordance.errors import Misconfigured
from concordance.ledger import Ledger
from concordance.model import ModelFingerprint
from concordance.parsing.parser import Parser
from concordance.pipeline.embed import embed
from concordance.pipeline.extract import extract
from concordance.pipeline.load import load
from concordance.pipeline.plan import make_plan
from concordance.pipeline.publish import publish
from concordance.pipeline.references import RunRequest
from concordance.settings import Settings
from support.shelves import SOURCE, assert_agree, assert_nothing_left_to_do, prepared, run_ungated
from support.trials import RecordTrials
from support.watched import SmallHouse, notes, small_house

CHANGES: dict[str, Any] = {
    "name": "another-model",
    "revision": "2",
    "files_digest": "f" * 64,
    "window_tokens": 128,
    "precision": "int8",
    "backend": "openvino",
    "dimension": 32,
}


class Other:
    """An embedder that says of itself what it is told; its vectors have the dimension that it says."""

    def __init__(self, fingerprint: ModelFingerprint, *, dimension: int | None = None) -> None:
        self.fingerprint = fingerprint
        self._embedder = HashEmbedder(dimension=dimension or fingerprint.dimension)

    def encode(self, texts: Sequence[str]) -> np.ndarray[Any, Any]:
        return self._embedder.encode(texts)


@pytest.fixture
def house(ledger: Ledger, stack: Settings, tmp_path: Path, parser: Parser) -> SmallHouse:
    """A corpus that is live, and an edit of it that is not yet loaded."""
    house = small_house(ledger, stack, parser, staging=tmp_path, documents=notes(4))
    run_ungated("first", adapters=house.adapters)
    house.shelf.documents.update(notes(2, edition=1))
    house.forget_writes()
    return house


@pytest.mark.parametrize("changed", sorted(CHANGES))
def test_another_model_is_refused_at_every_stage_before_the_first_write(
    house: SmallHouse, changed: str, record_trials: RecordTrials
) -> None:
    settings = house.adapters.settings
    right: Any = {"adapters": house.adapters, "settings": settings}
    frozen = house.adapters.embedder.fingerprint
    other = house.with_embedder(Other(replace(frozen, **{changed: CHANGES[changed]})))
    wrong: Any = {"adapters": other, "settings": settings}
    with pytest.raises(Misconfigured, match="was built with the model"):
        make_plan(RunRequest(SOURCE, "with the other"), **wrong)
    other.ledger.runs.release(run_id="with the other", source=SOURCE)
    plan = make_plan(RunRequest(SOURCE, "half-way"), **right)
    (shard,) = prepared(plan, adapters=house.adapters)
    for stage in (
        lambda: extract(plan, 0, **wrong),
        lambda: embed(plan, shard, **wrong),
        lambda: load(plan, shard, **wrong),
        lambda: publish(plan, **wrong),
    ):
        record_trials("F20", engine="memory stores")
        with pytest.raises(Misconfigured, match="was built with the model"):
            stage()
        assert house.writes == []
    # With the right model back, the same run goes on.
    run_ungated("half-way", adapters=house.adapters)
    assert_agree(adapters=house.adapters, documents=4)
    assert_nothing_left_to_do(adapters=house.adapters, run_id="last")


def test_a_model_that_gives_another_dimension_than_it_says_is_refused_before_the_first_write(
    house: SmallHouse, record_trials: RecordTrials
) -> None:
    record_trials("F20", engine="memory stores")
    liar = house.with_embedder(Other(house.adapters.embedder.fingerprint, dimension=32))
    with pytest.raises(Misconfigured, match="32"):
        run_ungated("half-way", adapters=liar)
    assert house.writes == []
