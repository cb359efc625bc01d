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


def _counter(name: str, tags: tuple[str, ...], help: str) -> Metric:
    return Metric(name, Kind.COUNTER, Unit.COUNT, tags, help)


def _gauge(name: str, unit: Unit, tags: tuple[str, ...], help: str) -> Metric:
    return Metric(name, Kind.GAUGE, unit, tags, help)


def _timer(name: str, tags: tuple[str, ...], help: str) -> Metric:
    return Metric(name, Kind.TIMER, Unit.MILLISECONDS, tags, help)


_COUNTERS = (
    _counter("stage.finished", ("stage", "source"), "stage tasks that ended well"),
    _counter("stage.failed", ("stage", "source"), "stage tasks that raised"),
    _counter("run.waiting", ("source",), "runs whose plan waits for a person's approval"),
    _counter("run.late", ("dag_id",), "runs past their deadline and not published"),
    _counter("documents.added", ("source",), "documents that a plan found new"),
    _counter("documents.changed", ("source",), "documents that a plan found changed"),
    _counter("documents.unchanged", ("source",), "documents that a plan left as they are"),
    _counter("documents.deleted", ("source",), "documents that a plan found gone"),
    _counter("documents.committed", ("source",), "documents whose new generation became current"),
    _counter("documents.superseded", ("source",), "documents that publish left to a newer plan"),
    _counter("documents.erased", ("source",), "documents that a run left out because they are erased"),
    _counter("documents.quarantined", ("source", "reason"), "documents sent to quarantine"),
    _counter("chunks.embedded", ("source",), "texts that the model embedded"),
    _counter("chunks.reused", ("source",), "texts whose vector was copied from the live index"),
    _counter("chunks.written", ("source",), "chunks written to both stores and read back"),
    _counter("generations.swept", (), "replaced or closed generations deleted from both stores"),
    _counter("erase.hidden", (), "documents that an erasure hid from readers and barred"),
    _counter("erase.erased", (), "documents of erasures that ended with a receipt"),
    _counter("erase.failed", ("store",), "clearings of an erasure that failed, by where"),
    _counter("gate.passed", ("gate", "source"), "gates that let the run go on"),
    _counter("gate.failed", ("gate", "source"), "gates that stopped the run"),
    _counter("build.copied", ("source",), "documents of a new index version taken over from artefacts"),
    _counter("build.cut", ("source",), "documents of a new index version read from their source again"),
    _counter("build.carried", ("source",), "documents of a new index version that could not be cut anew"),
    _counter("build.gate_passed", ("gate",), "gates that let a new index version go on"),
    _counter("build.gate_failed", ("gate",), "gates that a new index version failed"),
    _counter("index.swapped", (), "swaps of the live index version, rollbacks included"),
    _counter("index.dropped", (), "index versions deleted from the stores and the ledger"),
    _counter("store.circuit", ("store", "state"), "changes of a store's circuit: open, half-open, closed"),
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
    _timer("stage.duration", ("stage", "source"), "wall time of one stage task"),
    _timer("index.swap", (), "from the decision to swap until alias and pointer followed"),
    _timer("publish.held", (), "how long a swap kept runs from publishing"),
    _timer("search.duration", (), "wall time of one search, its query's embedding included"),
    _timer("relevance.duration", (), "wall time of one relevance gate"),
    _timer("verify.duration", (), "wall time of one verification"),
    _timer("repair.duration", (), "wall time of one repair, its verifications included"),
)
_GAUGES = (_gauge("index.version", Unit.COUNT, (), "the live index version"),)
METRICS: Mapping[str, Metric] = {metric.name: metric for metric in (*_COUNTERS, *_TIMINGS, *_GAUGES)}
