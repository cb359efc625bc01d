"""F20: another embedding model, dimension or revision half-way. A model that is not the version's is refused before the
first write; where the version's is kept beside the configured one, the run goes on with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from concordance.consistency import repair, verify
from concordance.embedding.hashing import HashEmbedder
from concordance.errors import Misconfigured
from concordance.ledger import Ledger
from concordance.model import GenerationKey, ModelFingerprint
from concordance.parsing.parser import Parser
from concordance.pipeline import index, tables
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.embed import embed
from concordance.pipeline.extract import extract
from concordance.pipeline.load import load
from concordance.pipeline.plan import make_plan
from concordance.pipeline.publish import publish
from concordance.pipeline.references import RunRequest
from concordance.reindex.build import begin
from concordance.reindex.catch_up import catch_up
from concordance.reindex.references import BuildRequest
from concordance.reindex.swap import publish as publish_version
from concordance.reindex.swap import rollback
from concordance.retrieval import SearchAnswer, SearchQuery
from concordance.retrieval.search import search
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
        self.encoded = 0

    def encode(self, texts: Sequence[str]) -> np.ndarray[Any, Any]:
        self.encoded += len(texts)
        return self._embedder.encode(texts)


@pytest.fixture
def house(ledger: Ledger, stack: Settings, tmp_path: Path, parser: Parser) -> SmallHouse:
    """A corpus that is live, and an edit of it that is not yet loaded."""
    return edited_house(ledger, stack, tmp_path, parser)


@pytest.fixture
def keeping_house(ledger: Ledger, stack: Settings, tmp_path: Path, parser: Parser) -> SmallHouse:
    """The same, where the live version's model is among the kept ones."""
    return edited_house(ledger, stack.model_copy(update={"kept_models": "hash=8,hash=16"}), tmp_path, parser)


def edited_house(ledger: Ledger, settings: Settings, folder: Path, parser: Parser) -> SmallHouse:
    house = small_house(ledger, settings, parser, staging=folder, documents=notes(4))
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


@pytest.mark.parametrize("changed", sorted(CHANGES))
def test_with_the_versions_model_kept_a_run_goes_on_and_writes_only_that_models_vectors(
    keeping_house: SmallHouse, changed: str, tmp_path: Path, record_trials: RecordTrials
) -> None:
    house, frozen = keeping_house, keeping_house.adapters.embedder.fingerprint
    record_trials("F20", engine="memory stores")
    plan = make_plan(RunRequest(SOURCE, "half-way"), adapters=house.adapters, settings=house.adapters.settings)
    extract(plan, 0, adapters=house.adapters, settings=house.adapters.settings)
    other = Other(replace(frozen, **{changed: CHANGES[changed]}))
    # Nor is the configured model's folder, where a tokenizer would be, any of the live version's.
    elsewhere = house.adapters.settings.model_copy(update={"model_dir": str(tmp_path / "elsewhere")})
    adapters = replace(house.with_embedder(other), settings=elsewhere)
    run_ungated("half-way", adapters=adapters)
    house.shelf.documents.update(notes(3, edition=2))
    run_ungated("and another", adapters=adapters)
    assert_agree(adapters=adapters, documents=4)
    assert_nothing_left_to_do(adapters=adapters, run_id="last")
    assert other.encoded == 0
    assert_only_vectors_of(HashEmbedder(16), house)


def assert_only_vectors_of(embedder: HashEmbedder, house: SmallHouse) -> None:
    with house.adapters.ledger.snapshot() as snapshot:
        version = snapshot.live()
        current = {GenerationKey(chunk.document_id, chunk.generation) for chunk in snapshot.committed(version)}
    chunks = house.graph.chunk_rows(version, sorted(current))
    found = house.vectors.vectors(version, [chunk.chunk_id for chunk in chunks])
    assert len(found) == len(chunks) > 4
    for chunk in chunks:
        np.testing.assert_array_equal(found[chunk.chunk_id], embedder.encode([chunk.text])[0])


def test_vectors_that_another_model_computed_are_not_loaded(house: SmallHouse, record_trials: RecordTrials) -> None:
    record_trials("F20", engine="memory stores")
    right: Any = {"adapters": house.adapters, "settings": house.adapters.settings}
    plan = make_plan(RunRequest(SOURCE, "half-way"), **right)
    (shard,) = prepared(plan, adapters=house.adapters)
    assert shard.vectors is not None
    known = tables.vectors_by_digest(house.adapters.staging.read(shard.vectors))
    # As an encoder would leave them that is of the same dimension, so that no store could tell.
    other = replace(house.adapters.embedder.fingerprint, precision="int8").digest
    table = tables.vectors_table(list(known), np.array(list(known.values())), model=other, canaries=None)
    content = tables.table_to_parquet(table)
    mixed = house.adapters.staging.put("vectors", ["mixed"], content, rows=len(known), suffix=".parquet")
    with pytest.raises(Misconfigured, match="not computed with its model"):
        load(plan, replace(shard, vectors=mixed), **right)
    assert house.writes == []


def answered(adapters: Adapters) -> SearchAnswer:
    return search(
        SearchQuery("the stone 3", tenant="acme", access=("public",)),
        ledger=adapters.ledger,
        graph=adapters.graph,
        vectors=adapters.vectors,
        embedder_of=adapters.embedder_of,
        settings=adapters.settings,
    )


def test_a_search_while_another_model_is_configured_answers_with_the_versions(
    keeping_house: SmallHouse, record_trials: RecordTrials
) -> None:
    record_trials("F20", engine="memory stores")
    other = Other(replace(keeping_house.adapters.embedder.fingerprint, dimension=32))
    expected = answered(keeping_house.adapters)
    assert len(expected.hits) > 1
    assert answered(keeping_house.with_embedder(other)) == expected
    assert other.encoded == 0


def test_a_repair_while_another_model_is_configured_encodes_with_the_versions(
    keeping_house: SmallHouse, record_trials: RecordTrials
) -> None:
    record_trials("F20", engine="memory stores")
    other = Other(replace(keeping_house.adapters.embedder.fingerprint, dimension=32))
    adapters = keeping_house.with_embedder(other)
    with adapters.ledger.snapshot() as snapshot:
        version = snapshot.live()
        current = {GenerationKey(chunk.document_id, chunk.generation) for chunk in snapshot.committed(version)}
    keeping_house.vectors.sweep(version, sorted(current)[:2], timeout_seconds=10)
    assert not verify(ledger=adapters.ledger, graph=adapters.graph, vectors=adapters.vectors).is_sound
    assert repair(adapters=adapters, settings=adapters.settings, reloads=False).is_sound
    assert_only_vectors_of(HashEmbedder(16), keeping_house)
    assert other.encoded == 0


def test_the_next_version_is_built_with_another_model_while_runs_and_readers_go_on_with_the_live_one(
    keeping_house: SmallHouse, record_trials: RecordTrials
) -> None:
    record_trials("F20", engine="memory stores")
    before = HashEmbedder(16)
    adapters = keeping_house.with_embedder(HashEmbedder(32))
    tools: Any = {"adapters": adapters, "settings": adapters.settings}
    build = begin(BuildRequest("to another model"), **tools)
    assert build is not None
    assert build.reasons == ("model",)
    catch_up(build, **tools)
    run_ungated("meanwhile", adapters=adapters)
    assert_only_vectors_of(before, keeping_house)
    live = answered(adapters)
    versions = adapters.ledger.versions
    versions.ready(versions.get(build.version))
    publish_version(build, **tools)
    assert_only_vectors_of(HashEmbedder(32), keeping_house)
    swapped = answered(adapters)
    assert swapped.index_version == build.version
    assert {hit.uri for hit in swapped.hits} == {hit.uri for hit in live.hits}
    rollback(versions.get(live.index_version), **tools)
    assert answered(adapters) == live
    assert_only_vectors_of(before, keeping_house)


def test_an_ingest_says_what_a_new_version_would_be_built_with_instead(
    keeping_house: SmallHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapters = keeping_house.adapters
    plan = make_plan(RunRequest(SOURCE, "as it was", dry_run=True), adapters=adapters, settings=adapters.settings)
    assert plan.notices == ()
    settings = adapters.settings.model_copy(update={"chunk_max_tokens": 50})
    moved = replace(keeping_house.with_embedder(HashEmbedder(32)), settings=settings)
    monkeypatch.setattr(index, "PARSER_REVISION", 0)
    plan = make_plan(RunRequest(SOURCE, "moved", dry_run=True), adapters=moved, settings=settings)
    (notice,) = plan.notices
    assert "(chunk_max_tokens, parser_revision, model)" in notice
