"""The bars of erased documents, staged beside the ledger: a ledger that was lost and rebuilt must know them again.

The stores cannot give them back, because nothing of an erased document is in them. So every erasure leaves its
documents as artefacts of the kind `bars`: ids, tenant and source, never a uri. Nothing in the product removes these.
"""

from __future__ import annotations

import json
from uuid import UUID

from concordance import fault_points, ids
from concordance.errors import Corrupt
from concordance.ledger.erasing import Erasure
from concordance.ledger.erasure_steps import Bar
from concordance.pipeline.adapters import Adapters

BARS = "bars"
_PAGE_DOCUMENTS = 10_000


def keep_bars(erasure: Erasure, *, adapters: Adapters) -> None:
    """Stage which documents the erasure bars; a repeated call changes nothing. Raises `Unavailable`."""
    pages = adapters.ledger.erasing.documents(erasure.erasure_id, page_documents=_PAGE_DOCUMENTS)
    for number, page in enumerate(pages):
        bars = adapters.ledger.erasing.bars(page)
        content = ids.canonical_json([[str(bar.document_id), bar.tenant, bar.source] for bar in bars]).encode()
        adapters.staging.put(BARS, [str(erasure.erasure_id), number], content, rows=len(bars), suffix=".json")


def staged_bars(adapters: Adapters) -> list[Bar]:
    """What any erasure ever barred. Raises `Corrupt` when a file is not what its name says: then nobody knows who is
    missing, and a person must decide."""
    found: dict[UUID, Bar] = {}
    for name, content in adapters.staging.contents(BARS):
        if name.rpartition("/")[2].partition(".")[0] != ids.bytes_digest(content):
            raise Corrupt(
                f"{name} in the staging area is damaged, and it says which documents are erased: restore it from a "
                "backup before anything is ingested"
            )
        for document_id, tenant, source in json.loads(content):
            found[UUID(document_id)] = Bar(UUID(document_id), tenant, source)
    return sorted(found.values(), key=lambda bar: bar.document_id)


def restore_bars(adapters: Adapters) -> int:
    """Bar again what any erasure ever barred, in a ledger that lost its own record; returns how many documents.

    To be called before anything is ingested into such a ledger. Raises `Corrupt`.
    """
    bars = staged_bars(adapters)
    with fault_points.around("erase.begin"):
        return adapters.ledger.erasing.bar_again(bars)
