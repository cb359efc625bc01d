"""Every metric of the product: its name, kind, unit and tags. What is not entered here cannot be sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Unit(StrEnum):
    COUNT = "count"
    MILLISECONDS = "milliseconds"
    SECONDS = "seconds"
    BYTES = "bytes"
    RATIO = "ratio"


class Kind(StrEnum):
    """What a sample says: an addition, a level that stays until the next one, or how long something took."""

    COUNTER = "counter"
    GAUGE = "gauge"
    TIMER = "timer"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; a tag's values are of bounded number: declared names and closed lists, never ids, uris or text."""

    name: str
    kind: Kind
    unit: Unit
    tags: tuple[str, ...]
    help: str

    @property
    def prometheus(self) -> str:
        """Its name in Prometheus, as deploy/'s mapping of the StatsD exporter makes it; a timer's is a histogram."""
        ending = {Kind.COUNTER: "_total", Kind.GAUGE: "", Kind.TIMER: "_seconds"}[self.kind]
        return f"concordance_{self.name.replace('.', '_')}{ending}"


def _counter(name: str, tags: tuple[str, ...], help: str) -> Metric:
    return Metric(name, Kind.COUNTER, Unit.COUNT, tags, help)


def _gauge(name: str, unit: Unit, tags: tuple[str, ...], help: str) -> Metric:
    return Metric(name, Kind.GAUGE, unit, tags, help)


def _timer(name: str, tags: tuple[str, ...], help: str) -> Metric:
    return Metric(name, Kind.TIMER, Unit.MILLISECONDS, tags, help)


# The figures of a run's report in the ledger, exactly: each is sent once, however often a stage is repeated
# (`pipeline.counted`). UDP may lose one.
_RUNS = (
    _counter("documents.added", ("source",), "documents that were new: the run's report, when the run ends"),
    _counter("documents.changed", ("source",), "documents that had changed: the run's report, when the run ends"),
    _counter("documents.unchanged", ("source",), "documents left as they are: the run's report, when the run ends"),
    _counter(
        "documents.committed",
        ("source",),
        "documents whose new generation became current: the run's report, at its end",
    ),
    _counter("documents.deleted", ("source",), "documents that are gone: the run's report, when the run ends"),
    _counter("documents.superseded", ("source",), "documents that publish left to a newer plan: the run's report"),
    _counter("documents.erased", ("source",), "documents left out because they are erased: the run's report"),
    _counter(
        "documents.quarantined",
        ("source", "reason"),
        "documents sent to quarantine, as a stage ends, also of a run that a gate stops: the outcomes in the ledger",
    ),
    _counter("chunks.embedded", ("source",), "different texts of a shard that the model embedded: the run's report"),
    _counter("chunks.reused", ("source",), "different texts of a shard whose vector was copied: the run's report"),
    _counter("chunks.written", ("source",), "chunks written to both stores and read back: the run's report"),
    _counter(
        "entities.written",
        ("source",),
        "entities of documents that were written and read back, once a document: the run's report",
    ),
    _counter("relations.written", ("source",), "relations of such documents: the run's report"),
    _counter("mentions.written", ("source",), "pairs of a chunk and an entity of such documents: the run's report"),
    _counter(
        "links.written",
        ("source",),
        "links of such documents, also those that wait for their target: the run's report",
    ),
    _counter("run.waiting", ("source",), "plans that wait for a person's approval, each once"),
)
_COUNTERS = (
    _counter("stage.finished", ("stage", "source"), "attempts of stage tasks that ended well"),
    _counter("stage.failed", ("stage", "source"), "attempts of stage tasks that raised"),
    _counter("stage.retried", ("stage", "source"), "second and later attempts of stage tasks that began, in Airflow"),
    _counter("run.late", ("dag_id",), "runs past their deadline and not published"),
    _counter("generations.swept", (), "replaced or closed generations deleted from both stores"),
    _counter("erase.hidden", (), "documents that an erasure hid from readers and barred"),
    _counter("erase.erased", (), "documents of erasures that ended with a receipt"),
    _counter("erase.failed", ("store",), "clearings of an erasure that failed, by where"),
    _counter("gate.passed", ("gate", "source"), "judgements of a gate that let the run go on, repeated ones too"),
    _counter("gate.failed", ("gate", "source"), "judgements of a gate that stopped the run, repeated ones too"),
    _counter("build.copied", ("source",), "documents of a new index version taken over from artefacts, repeats too"),
    _counter("build.cut", ("source",), "documents of a new index version read from their source again, repeats too"),
    _counter("build.carried", ("source",), "documents of a new index version that could not be cut anew, repeats too"),
    _counter("build.gate_passed", ("gate",), "gates that let a new index version go on"),
    _counter("build.gate_failed", ("gate",), "gates that a new index version failed"),
    _counter("index.swapped", (), "swaps of the live index version, rollbacks included"),
    _counter("index.dropped", (), "index versions deleted from the stores and the ledger"),
    _counter("store.circuit", ("store", "state"), "changes of a store's circuit: open, half-open, closed"),
    _counter("store.retried", ("store",), "repeated attempts within calls of graph, vectors or ledger"),
    _counter("store.batches", ("store",), "writes of a load that a store took, repeated ones too"),
    _counter("store.rows", ("store",), "rows in these writes: nodes and relationships, or points"),
    _counter("search.answered", (), "searches that gave an answer"),
    _counter("search.failed", ("error",), "searches that raised, by class of the error"),
    _counter("search.restarted", (), "attempts of a search that outlived its time and started again"),
    _counter("verify.sound", (), "verifications that found nothing"),
    _counter("verify.unsound", (), "verifications that found something"),
    _counter("verify.findings", ("kind", "store"), "rows that a verification found wrong"),
    _counter("repair.done", ("what",), "rows, documents and marks that a repair put right, by kind"),
    _counter("repair.waiting", ("source",), "damaged documents that wait for a reload"),
)
_TIMINGS = (
    _timer("stage.duration", ("stage", "source"), "wall time of one attempt of a stage task"),
    _timer(
        "embed.encoding",
        ("source",),
        "time inside the encoder, one sample a pool of texts; chunks.embedded / its sum is the throughput",
    ),
    _timer("store.write", ("store",), "wall time of one write of a load with its retries, failed ones too"),
    _timer("store.read_back", ("store",), "wall time of reading back what one write should have left"),
    _timer("index.swap", (), "from the decision to swap until alias and pointer followed"),
    _timer("publish.held", (), "how long a swap kept runs from publishing"),
    _timer("search.duration", (), "wall time of one search, its query's embedding included"),
    _timer("relevance.duration", (), "wall time of one relevance gate"),
    _timer("verify.duration", (), "wall time of one verification"),
    _timer("repair.duration", (), "wall time of one repair, its verifications included"),
)
_GAUGES = (_gauge("index.version", Unit.COUNT, (), "the live index version"),)
_PROCESS = (
    Metric(
        "process.cpu_milliseconds",
        Kind.COUNTER,
        Unit.MILLISECONDS,
        ("stage",),
        "processor time of a stage's process and its children while the stage ran",
    ),
    _gauge(
        "process.memory_bytes",
        Unit.BYTES,
        ("stage",),
        "the most memory that a stage's process had resident since it began",
    ),
    _gauge("disk.free_bytes", Unit.BYTES, ("place",), "free on the disk of the staging area, of the state folder"),
)
_ALERTS = (
    _counter("alert.fired", ("kind",), "alerts that fired, as told by the channel statsd"),
    _counter("alert.recovered", ("kind",), "alerts that are over, as told by the channel statsd"),
    _counter("alert.undelivered", ("channel",), "attempts to deliver an alert that failed"),
    _gauge("alert.open", Unit.COUNT, ("kind",), "alerts that are open, as the watch reads them"),
    _counter("watch.rounds", (), "rounds of the watch: without them nobody looks"),
    _counter("watch.failed", ("watcher",), "looks of the watch that failed, by who looked"),
    _timer("watch.round", (), "wall time of one round of the watch"),
)
_HEALTH = (
    _gauge("freshness.seconds", Unit.SECONDS, ("source",), "age of the newest state of a source that is searchable"),
    _gauge("freshness.lag_seconds", Unit.SECONDS, ("source", "quantile"), "from a change in a source to searchable"),
    _gauge("quarantine.waiting", Unit.COUNT, ("source", "reason"), "documents that wait in quarantine, not dismissed"),
    _gauge(
        "parity.rows", Unit.COUNT, ("what", "store"), "documents and chunks of the live version, as each store counts"
    ),
    _gauge("store.bytes", Unit.BYTES, ("store",), "size of a store, where its engine tells"),
    _gauge("staging.bytes", Unit.BYTES, (), "size of the staging area"),
    _gauge("dependency.up", Unit.COUNT, ("dependency",), "1 if it answered the last probe, else 0"),
    _gauge("dependency.latency_seconds", Unit.SECONDS, ("dependency",), "how long the last probe took"),
    _gauge(
        "dependency.breaker",
        Unit.COUNT,
        ("dependency",),
        "circuit of the probing process: 0 closed, 1 half-open, 2 open",
    ),
    _gauge("airflow.heartbeat_age_seconds", Unit.SECONDS, ("component",), "since a component of Airflow showed itself"),
    _counter("maintenance.removed", ("what",), "files and rows that maintenance removed, by kind"),
)
METRICS: Mapping[str, Metric] = {
    metric.name: metric for metric in (*_RUNS, *_COUNTERS, *_TIMINGS, *_GAUGES, *_PROCESS, *_ALERTS, *_HEALTH)
}
