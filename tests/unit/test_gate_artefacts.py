"""How artefacts reach the gates: in slices of whole documents, and with what their vectors were made by."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from concordance.model import IndexVersion
from concordance.pipeline import tables
from concordance.pipeline.plan import rejected_under
from concordance.settings import Settings
from concordance.sources.declaration import SourceDeclaration
from support.gate_frames import VERSION_SETTINGS

LENGTHS = (1, 7, 2, 2, 1, 30, 1)


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 11, 1000])
def test_slices_hold_whole_documents_and_all_rows_in_order(rows: int) -> None:
    names = [f"document {number}" for number, length in enumerate(LENGTHS) for _ in range(length)]
    chunks = [
        {"document_id": name, "ordinal": row, "text": "", "text_digest": "", "token_count": 1, "heading_path": []}
        for row, name in enumerate(names)
    ]
    content = tables.to_parquet([{**chunk, "mentions": "[]"} for chunk in chunks], tables.CHUNKS)
    found = list(tables.whole_documents(tables.frames(content, rows=rows, columns=["document_id", "ordinal"])))
    assert [name for frame in found for name in frame["document_id"]] == names
    assert [row for frame in found for row in frame["ordinal"]] == list(range(len(names)))
    held = [name for frame in found for name in set(frame["document_id"])]
    assert len(held) == len(set(held)) == len(LENGTHS)
    assert all(len(frame) < rows + max(LENGTHS) for frame in found)


def test_an_empty_artefact_has_no_slices() -> None:
    content = tables.to_parquet([], tables.CHUNKS)
    assert list(tables.whole_documents(tables.frames(content, rows=10))) == []


@pytest.mark.parametrize("canaries", [None, np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)])
def test_vectors_say_which_model_made_them_and_what_its_canaries_were(canaries: Any) -> None:
    vectors = np.eye(2, 3, dtype=np.float32)
    content = tables.table_to_parquet(tables.vectors_table(["a", "b"], vectors, model="m" * 64, canaries=canaries))
    model, found = tables.made_by(content)
    assert model == "m" * 64
    assert (found is None) if canaries is None else (found is not None and found.tobytes() == canaries.tobytes())
    assert tables.vectors_by_digest(content)["b"].tobytes() == vectors[1].tobytes()


def test_vectors_of_a_release_that_did_not_say_it_name_no_model() -> None:
    table = tables.vectors_table(["a"], np.eye(1, 3, dtype=np.float32), model="m", canaries=None)
    assert tables.made_by(tables.table_to_parquet(table.replace_schema_metadata(None))) == ("", None)


def test_what_a_language_rejected_is_tried_again_once_the_source_declares_others() -> None:
    version, settings = IndexVersion(1, "live", VERSION_SETTINGS), Settings()
    declared = SourceDeclaration(name="notes", kind="files", tenant="acme", location=".", languages=("en", "de"))
    other_order = replace_languages(declared, "de", "en")
    assert rejected_under(version, settings, declared) == rejected_under(version, settings, other_order)
    assert rejected_under(version, settings, declared) != rejected_under(
        version, settings, replace_languages(declared, "en")
    )
    assert rejected_under(version, settings, declared) != rejected_under(
        replace(version, settings=replace(VERSION_SETTINGS, chunk_max_tokens=50)), settings, declared
    )


def replace_languages(declaration: SourceDeclaration, *languages: str) -> SourceDeclaration:
    return declaration.model_copy(update={"languages": languages})


def test_an_artefact_of_several_groups_and_one_of_an_older_release_say_the_same() -> None:
    count = 10_000
    vectors = np.random.default_rng(7).standard_normal((count, 4)).astype(np.float32)
    digests = [f"{number:064x}" for number in range(count)]
    table = tables.vectors_table(digests, vectors, model="m" * 64, canaries=vectors[:2])
    content, older = tables.table_to_parquet(table), io.BytesIO()
    pq.write_table(table, older, compression="zstd")
    assert pq.ParquetFile(io.BytesIO(content)).num_row_groups > 1
    for each in (content, older.getvalue()):
        found = tables.vectors_by_digest(each)
        assert list(found) == digests
        assert np.array_equal(np.stack(list(found.values())), vectors)
        assert tables.made_by(each)[0] == "m" * 64
        assert [len(batch) for batch in tables.batches(each, rows=4_000)] == [4_000, 4_000, 2_000]
