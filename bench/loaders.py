"""The loaders against bare loops over the same rows: graph on a real Neo4j and on the embedded one, vectors.

    PYTHONPATH=tests python -m bench.loaders [--documents 300] [--pairs 5]

The bare loops have their rows in hand and promise nothing: `UNWIND ... MERGE` of a thousand rows a query, `upsert` of
256 points a request by the client's own models. Ours starts from the same rows as the pipeline has them, and checks,
names, locks and counts as it always does. Every sample is written into an index version of its own.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, LiteralString

import neo4j
from bench import effort
from bench.figures import Figure, median_of, seconds, show
from bench.stacks import stack
from qdrant_client import QdrantClient, models

from concordance.model import GenerationKey, GraphBatch, IndexVersion, Point
from concordance.operations.correlation import Threads
from concordance.pipeline.lanes import in_lanes
from concordance.settings import Settings
from concordance.slices import slices
from concordance.stores import open_graph, open_vectors
from concordance.stores.graph_rows import Rows, write_queries
from support import index_rows, neo4j_server
from support.index_rows import Written

DOCUMENTS, PAIRS = 300, 5
CHUNKS_A_DOCUMENT, DOCUMENTS_A_BATCH, ENTITIES, DIMENSION = 8, 125, 400, 384
ROWS_A_QUERY, POINTS_A_REQUEST, CALL_SECONDS = 1_000, 256, 60.0
TRANSACTION_BYTES = 256 * 1024 * 1024
WORDS = tuple(f"word{number}" for number in range(5_000))

# What one writes without a promise: no locks, no counts, in the order of `write_queries`.
BARE_QUERIES = (
    "UNWIND $rows AS row MERGE (d:Document {key: row.key}) SET d += row.properties",
    "UNWIND $rows AS row MERGE (e:Entity {key: row.key}) SET e += row.properties",
    "UNWIND $rows AS row MATCH (d:Document {key: row.document}) MERGE (c:Chunk {key: row.key}) SET c += row.properties "
    "MERGE (c)-[:FROM_DOCUMENT]->(d)",
    "UNWIND $rows AS row MATCH (c:Chunk {key: row.key}) MATCH (n:Chunk {key: row.next}) MERGE (c)-[:NEXT_CHUNK]->(n)",
    "UNWIND $rows AS row MATCH (c:Chunk {key: row.chunk}) MATCH (e:Entity {key: row.entity}) "
    "MERGE (c)<-[r:FROM_CHUNK]-(e) SET r.count = row.count",
    "UNWIND $rows AS row MATCH (d:Document {key: row.document}) MATCH (e:Entity {key: row.entity}) "
    "MERGE (d)-[:HAS_ENTITY {role: row.role, generation: row.generation}]->(e)",
    "UNWIND $rows AS row MATCH (s:Entity {key: row.subject}) MATCH (o:Entity {key: row.object}) "
    "MERGE (s)-[:RELATED_TO {kind: row.kind, document_id: row.document_id, generation: row.generation}]->(o)",
    "UNWIND $rows AS row MATCH (d:Document {key: row.document}) MATCH (t:Document {key: row.target}) "
    "MERGE (d)-[:LINKS_TO {kind: row.kind, generation: row.generation}]->(t)",
)


def measure(documents: int = DOCUMENTS, pairs: int = PAIRS) -> list[Figure]:
    """The loaders' rates against the bare loops', in one run."""
    figures: list[Figure] = []
    pairs = effort.pairs(pairs)
    corpus = list(made_documents(documents))
    with stack() as (settings, _):
        figures += _graph("embedded graph", settings, corpus, pairs)
        # A sample of a second moves by more than one of several: three times as many of them.
        figures += _vectors(settings, corpus, 3 * pairs)
        figures += _two_lanes("embedded graph", settings, settings, corpus, pairs)
        if neo4j_server.why_not() is None:
            with (
                tempfile.TemporaryDirectory(prefix="concordance-bench-") as folder,
                neo4j_server.running(Path(folder), transaction_bytes=TRANSACTION_BYTES) as up,
            ):
                figures += _graph("Neo4j", up, corpus, pairs)
                figures += _two_lanes("Neo4j", up, settings, corpus, pairs)
    return figures


def made_documents(count: int) -> Iterator[Written]:
    """Invented documents of eight chunks of some 900 characters, each with six of 400 names, authors, links."""
    dice = random.Random(1)
    for number in range(count):
        chunks = range(CHUNKS_A_DOCUMENT)
        yield Written(
            f"manual-{number}.md",
            texts=[" ".join(dice.choices(WORDS, k=110)) for _ in chunks],
            mentions={at: {f"name-{each}": 1 for each in dice.sample(range(ENTITIES), 6)} for at in chunks},
            authors=[f"Author {dice.randrange(50)}"],
            requires=[(f"name-{number % ENTITIES}", f"name-{dice.randrange(ENTITIES)}") for _ in range(3)],
            links=[f"manual-{dice.randrange(count)}.md" for _ in range(2)],
        )


# --- the graph --------------------------------------------------------------------------------------------------------


def _graph(what: str, settings: Settings, corpus: Sequence[Written], pairs: int) -> list[Figure]:
    graph = open_graph(settings)
    graph.prepare()
    driver = neo4j.GraphDatabase.driver(
        settings.effective_neo4j_url,
        auth=(settings.effective_neo4j_user, settings.neo4j_password.get_secret_value()),
    )

    def ours(batches: Sequence[GraphBatch], version: IndexVersion) -> None:
        for batch in batches:
            graph.write(version, batch, timeout_seconds=CALL_SECONDS)

    def consumed(transaction: neo4j.ManagedTransaction, *, query: LiteralString, rows: Rows) -> None:
        transaction.run(query, rows=rows).consume()

    def bare(tables: Sequence[Rows]) -> None:
        with driver.session(database=settings.effective_neo4j_database) as session:
            for query, rows in zip(BARE_QUERIES, tables, strict=True):
                for part in slices(rows, ROWS_A_QUERY):
                    # The driver's own way: it repeats what another transaction was first with.
                    session.execute_write(partial(consumed, query=query, rows=list(part)))

    def pair() -> tuple[Callable[[], None], Callable[[], None]]:
        version, plain = (index_rows.index_version(dimension=DIMENSION) for _ in range(2))
        batches = [index_rows.graph_batch(version, *part) for part in slices(corpus, DOCUMENTS_A_BATCH)]
        tables = [rows for _, rows in write_queries(plain, index_rows.graph_batch(plain, *corpus))]
        return lambda: ours(batches, version), lambda: bare(tables)

    with driver:
        figures = _rates(what, pair, pairs, bound=">= 0.8")
    version = index_rows.index_version(dimension=DIMENSION)
    rows = sum(len(part) for _, part in write_queries(version, index_rows.graph_batch(version, *corpus)))
    graph.close()
    return [Figure(f"{what}, rows a sample", rows, "rows"), *figures]


# --- the vectors ------------------------------------------------------------------------------------------------------


def _vectors(settings: Settings, corpus: Sequence[Written], pairs: int) -> list[Figure]:
    vectors = open_vectors(settings)
    client = QdrantClient(
        url=settings.effective_qdrant_url, api_key=settings.qdrant_api_key.get_secret_value(), timeout=60
    )

    def bare(name: str, points: Sequence[models.PointStruct]) -> None:
        for part in slices(points, POINTS_A_REQUEST):
            client.upsert(name, list(part), wait=True)

    def pair() -> tuple[Callable[[], None], Callable[[], None]]:
        version, plain = (index_rows.index_version(dimension=DIMENSION) for _ in range(2))
        for each in (version, plain):
            vectors.prepare(each)
        points = [index_rows.points(version, *part) for part in slices(corpus, DOCUMENTS_A_BATCH)]
        structs = [_struct(each) for each in index_rows.points(plain, *corpus)]

        def ours() -> None:
            for part in points:
                vectors.upsert(version, part, timeout_seconds=CALL_SECONDS)

        return ours, lambda: bare(plain.collection, structs)

    figures = _rates("vectors", pair, pairs, bound=">= 0.9")
    count = len(corpus) * CHUNKS_A_DOCUMENT
    client.close()
    vectors.close()
    return [Figure("vectors, points a sample", count, "points"), *figures]


def _struct(point: Point) -> models.PointStruct:
    payload = {
        "document_id": str(point.document_id),
        "generation": point.generation,
        "index": point.ordinal,
        "tenant": point.tenant,
        "source": point.source,
        "uri": point.uri,
        "title": point.title,
        "heading_path": list(point.heading_path),
        "text": point.text,
        "text_digest": point.text_digest,
        "access": list(point.access),
        "live": False,
    }
    sparse = models.SparseVector(indices=list(point.sparse.indices), values=list(point.sparse.values))
    vector = {"dense": point.dense.tolist(), "bm25": sparse}
    return models.PointStruct(id=str(point.chunk_id), vector=vector, payload=payload)


# --- both, in one lane or in two --------------------------------------------------------------------------------------


def _two_lanes(
    what: str, graph_at: Settings, vectors_at: Settings, corpus: Sequence[Written], pairs: int
) -> list[Figure]:
    """What a load does with its batches in both stores, the read-backs one after the other or at once."""
    graph, vectors = open_graph(graph_at), open_vectors(vectors_at)
    graph.prepare()

    def made() -> tuple[IndexVersion, list[tuple[GraphBatch, list[Point], list[GenerationKey]]]]:
        version = index_rows.index_version(dimension=DIMENSION)
        vectors.prepare(version)
        documents = slices(corpus, DOCUMENTS_A_BATCH)
        return version, [
            (index_rows.graph_batch(version, *each), index_rows.points(version, *each), [one.key for one in each])
            for each in documents
        ]

    def load(version: IndexVersion, batches: Sequence[Any], lanes: int) -> None:
        def into_graph(batch: Any) -> Any:
            graph.write(version, batch[0], timeout_seconds=CALL_SECONDS)
            return batch

        def to_the_end(batch: Any) -> None:
            _, points, keys = batch
            vectors.upsert(version, points, timeout_seconds=CALL_SECONDS)
            with Threads(lanes) as pool:
                beside = pool.submit(vectors.read_back, version, [point.chunk_id for point in points])
                if lanes == 1:
                    beside.result()
                assert len(graph.read_back(version, keys)) == len(beside.result()) == len(points)

        in_lanes(batches, into_graph, to_the_end, lanes=lanes, abandon=lambda batch, error: None)

    def pair() -> tuple[Callable[[], None], Callable[[], None]]:
        one, two = made(), made()
        return lambda: load(*two, 2), lambda: load(*one, 1)

    figures = _rates(f"{what} and vectors", pair, pairs, sides=("two lanes", "one lane"))
    graph.close()
    vectors.close()
    return figures


# --- the figures ------------------------------------------------------------------------------------------------------


def _rates(
    what: str,
    pair: Callable[[], tuple[Callable[[], None], Callable[[], None]]],
    pairs: int,
    *,
    bound: str = "",
    sides: tuple[str, str] = ("ours", "bare loop"),
) -> list[Figure]:
    """The rate of the first side / that of the second; the first pair warms both up and does not count."""
    ratios, ours_took, bare_took = [], [], []
    for number in range(pairs + 1):
        ours, bare = pair()
        if number % 2:
            mine, other = seconds(ours), seconds(bare)
        else:
            other, mine = seconds(bare), seconds(ours)
        if number:
            ratios.append(other / mine)
            ours_took.append(mine)
            bare_took.append(other)
    return [
        median_of(f"{what}, rate: {sides[0]} / {sides[1]}", ratios, "x", bound),
        Figure(f"{what}, {sides[0]}", statistics.median(ours_took), "s"),
        Figure(f"{what}, {sides[1]}", statistics.median(bare_took), "s"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=DOCUMENTS)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    arguments = parser.parse_args()
    show(measure(arguments.documents, arguments.pairs))


if __name__ == "__main__":
    main()
