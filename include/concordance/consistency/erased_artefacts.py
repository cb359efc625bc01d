"""The staging area's part of an erase: every artefact that holds a barred document, or a text of one, is removed.

All files are looked at, also those that no reference leads to (the loser of two attempts leaves one). An artefact is
removed whole, with the documents beside the barred one: all artefacts can be made again. So is one that is damaged: it
may hold anything. A run that still needs it finds it gone (`Corrupt`, which says so) and is started again; it never
loads the document, because begin refuses it as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from uuid import UUID

from concordance import fault_points, ids
from concordance.ledger.erasing import Erasure
from concordance.pipeline import tables
from concordance.pipeline.adapters import Adapters
from concordance.settings import Settings
from concordance.slices import slices

# Every kind of artefact that any stage stages, by what names the documents in it. (A test reads the code for others.)
BY_COLUMN = ("plan", "documents", "chunks", "rejections", "evidence")
BY_TEXT = ("vectors",)
BY_VERDICT = ("gate",)
_AT_ONCE = 10_000


def clear_artefacts(erasure: Erasure, *, adapters: Adapters, settings: Settings) -> int:
    """Remove what is staged of the documents; returns the number of files. Raises `Unavailable`."""
    named: list[str] = []
    for kind in (*BY_COLUMN, *BY_VERDICT):
        named += _holding_documents(kind, erasure, adapters)
    # The texts that the chunk artefacts knew are remembered by now; vectors are found by them, so these go first.
    textual = [name for kind in BY_TEXT for name in _holding_texts(kind, erasure, adapters)]
    removed = 0
    for names in (textual, named):
        if names:
            with fault_points.around("artefacts.erase"):
                gone = adapters.staging.discard(frozenset(names))
                adapters.ledger.erasing.removed_artefacts(erasure.erasure_id, gone)
            removed += gone
    for kind in (*BY_COLUMN, *BY_TEXT, *BY_VERDICT):
        with fault_points.around("artefacts.erase"):
            adapters.staging.discard_unfinished(kind, older_than_seconds=settings.sweep_grace_seconds)
    return removed


def _holding_documents(kind: str, erasure: Erasure, adapters: Adapters) -> Iterator[str]:
    for name, content in adapters.staging.contents(kind):
        if not _is_whole(name, content):
            yield name
            continue
        held = _documents_of_verdict(content) if kind in BY_VERDICT else _documents_of_table(content)
        barred: set[str] = set()
        for some in slices(sorted(held), _AT_ONCE):
            found = adapters.ledger.erasing.named(erasure.erasure_id, [UUID(each) for each in some])
            barred.update(map(str, found))
        if barred and kind == "chunks":
            texts = tables.from_parquet(content, columns=["document_id", "text_digest"]).to_pylist()
            digests = {row["text_digest"] for row in texts if row["document_id"] in barred}
            with fault_points.around("artefacts.erase"):
                adapters.ledger.erasing.remember_texts(erasure.erasure_id, digests)
        if barred:
            yield name


def _holding_texts(kind: str, erasure: Erasure, adapters: Adapters) -> Iterator[str]:
    for name, content in adapters.staging.contents(kind):
        if not _is_whole(name, content):
            yield name
            continue
        digests = tables.from_parquet(content, columns=["text_digest"]).column(0).to_pylist()
        if any(adapters.ledger.erasing.erased_texts(erasure.erasure_id, some) for some in slices(digests, _AT_ONCE)):
            yield name


def _is_whole(name: str, content: bytes) -> bool:
    return name.rpartition("/")[2].partition(".")[0] == ids.bytes_digest(content)


def _documents_of_table(content: bytes) -> set[str]:
    return set(tables.from_parquet(content, columns=["document_id"]).column(0).to_pylist())


def _documents_of_verdict(content: bytes) -> set[str]:
    """What a gate between stages rejected, what parity found lost by source, what the relevance gate found."""
    verdict = json.loads(content)
    lost = (each for documents in verdict.get("lost", {}).values() for each in documents)
    return {*verdict.get("rejected", ()), *lost, *verdict.get("documents", ())}
