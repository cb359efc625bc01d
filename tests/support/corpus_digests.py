"""A worker process that ingests a corpus into memory stores and prints what the ledger then says of each document.

`python corpus_digests.py SETTINGS.json ORDER_SEED`: one JSON object on its output, by uri: content digest, fingerprint,
digests of the texts in order. The corpus is the folder of the settings' only source, listed in an order of its own.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from concordance.model import Entity, Listed, RawDocument
from concordance.operations.logs import configure_from
from concordance.pipeline.adapters import Adapters, open_adapters
from concordance.settings import Settings, load_settings
from concordance.sources.port import Source
from concordance.stores.memory import MemoryGraph, MemoryVectors
from support.ledgers import connect
from support.shelves import SOURCE, assert_agree, run_ungated


class Shuffled:
    """A source whose listing comes in another order each time."""

    def __init__(self, source: Source, seed: int) -> None:
        self._source = source
        self._dice = random.Random(seed)
        self.declaration = source.declaration
        self.path_uris = source.path_uris

    def list(self, subpath: str = "") -> Iterator[Listed]:
        listed = list(self._source.list(subpath))
        self._dice.shuffle(listed)
        yield from listed

    def read(self, uri: str) -> RawDocument:
        return self._source.read(uri)

    def names(self) -> Iterator[Entity]:
        names = list(self._source.names())
        self._dice.shuffle(names)
        yield from names


def ingest_shuffled(adapters: Adapters, *, run_id: str, seed: int) -> None:
    """Into empty memory stores; the ledger is empty too."""
    shuffled: Any = Shuffled(adapters.source(SOURCE), seed)
    ours = replace(adapters, graph=MemoryGraph(), vectors=MemoryVectors(), opened={SOURCE: shuffled})
    report = run_ungated(run_id, adapters=ours)
    assert_agree(adapters=ours, documents=report.counts["committed"])


def digests(settings: Settings) -> dict[str, Any]:
    """What the ledger's current generations say, without ids and generations."""
    with connect(settings) as connection:
        rows = connection.execute(
            "SELECT d.uri, g.content_digest, g.fingerprint, array_agg(encode(c.text_digest, 'hex') ORDER BY c.ordinal) "
            "FROM generations g JOIN documents d USING (document_id) "
            "JOIN chunks c ON c.index_version = g.index_version AND c.document_id = g.document_id "
            "  AND c.generation = g.generation WHERE g.state = 'current' GROUP BY 1, 2, 3"
        ).fetchall()
    return {str(uri): [content, fingerprint, list(texts)] for uri, content, fingerprint, texts in rows}  # type: ignore[call-overload]


def main(settings_file: str, seed: str) -> None:
    settings = load_settings(json.loads(Path(settings_file).read_text()), environment={})
    # Lines go to standard error: what is printed is the answer.
    configure_from(settings)
    with open_adapters(settings) as adapters:
        ingest_shuffled(adapters, run_id=f"worker-{seed}", seed=int(seed))
    print(json.dumps(digests(settings)))


if __name__ == "__main__":
    main(*sys.argv[1:])
