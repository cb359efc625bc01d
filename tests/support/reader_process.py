"""Readers of an index version that is live, each a process: see `support.readers`.

`python reader_process.py ORDER.json`: imports everything once, then forks applications, which search by the reader's
protocol, and raw readers of the vector store's alias, who know nothing of the ledger. Each writes one line of JSON an
answer, to a file of its own, until the input of the first process ends.

An application's answers are judged in the very snapshot that they were made in: every chunk shown must be one that the
ledger names as current in the version that is live there. A point's id says for a raw reader which version it is of.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID

import numpy as np
import numpy.typing as npt

from concordance import ids
from concordance.embedding.port import Embedder
from concordance.model import IndexVersion, ModelFingerprint, Neighbourhood
from concordance.settings import Settings, load_settings
from support.readers import Answer, Query, Seen

TENANT, ACCESS = "acme", ("public",)
_RAW_POINTS = 20


@dataclass(slots=True)
class Witness:
    """Ledger and graph of one application; compares what is shown with the snapshot that it was chosen in."""

    ledger: Any
    graph: Any
    judges: bool
    versions: tuple[int, ...] = ()
    wrong: tuple[str, ...] = ()
    _shown: list[tuple[IndexVersion, UUID]] = field(default_factory=list)

    @contextmanager
    def snapshot(self) -> Iterator[Any]:
        with self.ledger.snapshot() as snapshot:
            self._shown = []
            yield snapshot
            self.versions = tuple({version.version for version, _ in self._shown})
            if self._shown and self.judges:
                self._judge(snapshot)

    def erased(self, document_ids: Collection[UUID]) -> Collection[UUID]:
        erased: Collection[UUID] = self.ledger.erased(document_ids)
        return erased

    def neighbourhoods(self, version: IndexVersion, chunk_ids: Sequence[UUID]) -> Mapping[UUID, Neighbourhood]:
        self._shown = [(version, chunk_id) for chunk_id in chunk_ids]
        around: Mapping[UUID, Neighbourhood] = self.graph.neighbourhoods(version, chunk_ids)
        return around

    def _judge(self, snapshot: Any) -> None:
        live = snapshot.live()
        # Ids name one version's chunks only: a chunk of another version is none of these.
        current = {chunk.chunk_id: chunk for chunk in snapshot.committed(live)}
        shown = [chunk_id for _, chunk_id in self._shown]
        generations = {(current[each].document_id, current[each].generation) for each in shown if each in current}
        truths = {
            "the version that was read is the snapshot's live one": self.versions == (live.version,),
            "every chunk shown is current in the snapshot": current.keys() >= set(shown),
            "no chunk is shown twice": len(set(shown)) == len(shown),
            "no document is shown in two generations": len({each for each, _ in generations}) == len(generations),
        }
        self.wrong = tuple(_untrue(truths))


@dataclass(frozen=True, slots=True)
class Precomputed:
    """`Embedder` that knows the queries' vectors and no model."""

    fingerprint: ModelFingerprint
    queries: Mapping[str, Query]

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        return np.array([self.queries[text].vectors[self.fingerprint.digest] for text in texts], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Order:
    """What the first process was told."""

    settings: Settings
    queries: tuple[Query, ...]
    versions: tuple[int, ...]
    applications: tuple[Path, ...]
    raw: tuple[Path, ...]
    judged: bool

    @classmethod
    def read(cls, path: Path) -> Order:
        told = json.loads(path.read_text())
        return cls(
            load_settings(json.loads(Path(told["settings"]).read_text()), environment={}),
            tuple(Query(**query) for query in told["queries"]),
            tuple(told["versions"]),
            tuple(map(Path, told["applications"])),
            tuple(map(Path, told["raw"])),
            told["judged"],
        )


Answering = Callable[[Query], Answer]


@contextmanager
def application(order: Order) -> Iterator[Answering]:
    """Opened as a deployment's reader opens it."""
    from concordance.pipeline.adapters import open_adapters
    from concordance.retrieval import SearchQuery
    from concordance.retrieval.search import search

    by_text = {query.text: query for query in order.queries}

    def embedder_of(version: IndexVersion) -> Embedder:
        return Precomputed(version.settings.model, by_text)

    with open_adapters(order.settings) as adapters:
        witness = Witness(adapters.ledger, adapters.graph, order.judged)

        def answer(query: Query) -> Answer:
            found = search(
                SearchQuery(query.text, TENANT, ACCESS),
                ledger=witness,
                graph=witness,  # type: ignore[arg-type] # a search asks a graph for nothing else
                vectors=adapters.vectors,
                embedder_of=embedder_of,
                settings=order.settings,
            )
            truths = {
                "a hit is of the document that was asked for": query.uri in {hit.uri for hit in found.hits},
                "the answer names the version of its hits": (found.index_version,) == witness.versions,
                "the graph has every hit": not found.missing_in_graph,
            }
            return Answer(witness.versions, len(found.hits), (*witness.wrong, *_untrue(truths)))

        yield answer


@contextmanager
def raw_reader(order: Order) -> Iterator[Answering]:
    """Who asks the alias by Qdrant's own client for words; what he filters by is what the points say of themselves."""
    from qdrant_client import QdrantClient, models

    from concordance.chunking.bm25 import query_vector

    key = order.settings.qdrant_api_key.get_secret_value()
    with warnings.catch_warnings():
        # The key goes over plain HTTP, on the loopback address.
        warnings.simplefilter("ignore")
        client = QdrantClient(url=order.settings.effective_qdrant_url, api_key=key, check_compatibility=False)
    live = models.Filter(must=[models.FieldCondition(key="live", match=models.MatchValue(value=True))])

    def version_of(point: Any) -> int | None:
        place = {
            "document_id": UUID(point.payload["document_id"]),
            "generation": point.payload["generation"],
            "ordinal": point.payload["index"],
        }
        made = {version: ids.chunk_id(index_version=version, **place) for version in order.versions}
        return next((version for version in made if str(made[version]) == str(point.id)), None)

    def answer(query: Query) -> Answer:
        words = query_vector(query.text)
        points = client.query_points(
            "concordance",
            query=models.SparseVector(indices=list(words.indices), values=list(words.values)),
            using="bm25",
            query_filter=live,
            limit=_RAW_POINTS,
        ).points
        payloads = [point.payload or {} for point in points]
        generations = {(payload["document_id"], payload["generation"]) for payload in payloads}
        versions = {version_of(point) for point in points}
        truths = {
            "a point is of the document that was asked for": query.uri in {payload["uri"] for payload in payloads},
            "all points are of one version": len(versions) == 1 and None not in versions,
            "no document is live in two generations": len({each for each, _ in generations}) == len(generations),
        }
        return Answer(tuple(each for each in versions if each is not None), len(points), tuple(_untrue(truths)))

    try:
        yield answer
    finally:
        client.close()


def _untrue(truths: Mapping[str, bool]) -> Iterator[str]:
    return (f"not true: {truth}" for truth, holds in truths.items() if not holds)


def _read_on(order: Order, opening: Callable[[Order], AbstractContextManager[Answering]], target: Path) -> None:
    """Ask one query after the other until the input of all ends."""
    asked = cycle(order.queries)
    with opening(order) as answer, target.open("w", buffering=1) as written:
        while not select.select([0], [], [], 0)[0]:
            began = time.monotonic()
            found = answer(next(asked))
            print(json.dumps(asdict(Seen(began, time.monotonic(), found))), file=written)


def _main(order_file: Path) -> int:
    import neo4j  # noqa: F401
    import qdrant_client  # noqa: F401

    import concordance.pipeline.adapters
    import concordance.retrieval
    import concordance.stores  # noqa: F401

    order = Order.read(order_file)
    children: set[int] = set()
    for opening, targets in ((application, order.applications), (raw_reader, order.raw)):
        for target in targets:
            pid = os.fork()
            if pid == 0:
                _end_with(lambda opening=opening, target=target: _read_on(order, opening, target))  # type: ignore[misc]
            children.add(pid)
    has_failed = False
    while children:
        pid, status = os.wait()
        children.remove(pid)
        if status and not has_failed:
            # One that fails ends them all: whoever waits for answers would wait in vain.
            has_failed = True
            for other in children:
                os.kill(other, signal.SIGTERM)
    return int(has_failed)


def _end_with(work: Callable[[], None]) -> NoReturn:
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1])))
