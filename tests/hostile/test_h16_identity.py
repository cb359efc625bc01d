"""H16: documents that are equal, or named almost alike. Each keeps its identity: tenant, source, uri in NFC."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from concordance import ids
from support.hostile import GOOD_DOCUMENTS, Batch

COMPOSED, DECOMPOSED = "m-caf\u00e9.md", "m-cafe\u0301.md"


@pytest.fixture
def batch(batch: Batch) -> Batch:
    probe = Path(batch.folder, "probe")
    probe.touch()
    if Path(batch.folder, "PROBE").exists():
        pytest.skip("this file system does not know upper from lower case")
    probe.unlink()
    return batch


def test_equal_content_and_names_that_differ_in_case_are_documents_of_their_own(batch: Batch) -> None:
    for name in ("m-Same.md", "m-same.md", "m-SAME.md"):
        batch.write(name, b"# Same\n\nThe very same words.\n")
    report = batch.run(batch.adapters())
    batch.assert_outcome(report, committed=GOOD_DOCUMENTS + 3, quarantined={})
    assert batch.shown().keys() >= {"m-Same.md", "m-same.md", "m-SAME.md"}


def test_names_that_are_one_in_unicode_are_one_document(batch: Batch) -> None:
    """The uri is in NFC: the file that is spelled like it is read, and the other one is not."""
    batch.write(DECOMPOSED, b"# Other\n\nThe decomposed words.\n")
    batch.write(COMPOSED, b"# One\n\nThe composed words.\n")
    assert len(os.listdir(batch.folder)) == GOOD_DOCUMENTS + 2
    report = batch.run(batch.adapters())
    batch.assert_outcome(report, committed=GOOD_DOCUMENTS + 1, quarantined={})
    shown = batch.shown()
    assert "The composed words." in shown[COMPOSED]
    assert DECOMPOSED not in shown


def test_a_file_that_is_spelled_anew_is_the_same_document(batch: Batch) -> None:
    batch.write(DECOMPOSED, b"# One\n\nThe same words.\n")
    batch.run(batch.adapters())
    os.rename(batch.folder / DECOMPOSED, batch.folder / COMPOSED)
    again = batch.run(batch.adapters(), run_id="again")
    assert (again.counts["added"], again.counts["deleted"]) == (0, 0)


@pytest.mark.parametrize("uri", [DECOMPOSED, COMPOSED], ids=ascii)
def test_one_id_for_every_spelling_and_one_for_each_case(uri: str) -> None:
    composed = ids.document_id(tenant="acme", source="shelf", uri=COMPOSED)
    assert ids.document_id(tenant="acme", source="shelf", uri=uri) == composed
    assert ids.document_id(tenant="acme", source="shelf", uri=uri.upper()) != composed
