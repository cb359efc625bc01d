"""Every metric of the product: its name, unit and tags, and the two calls that emit one.

`count` and `timer` are called where a thing has just happened, never where it was only meant to. They cannot fail a
run: what carries them away (a backend) may lose a packet; but an unknown name or tag is a defect and raises. The
backend is StatsD with InfluxDB-style tags (`name,tag=value`, as Airflow's own) if `statsd_host` is set, else nothing;
Airflow's processes put their own in its place with `use`.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from concordance.settings import Settings

_log = logging.getLogger(__name__)


class Unit(StrEnum):
    COUNT = "count"
    MILLISECONDS = "milliseconds"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; a tag's values are of bounded number: declared names and closed lists, never ids, uris or text."""

    name: str
    unit: Unit
    tags: tuple[str, ...]
    help: str


_COUNTERS = (
    Metric("stage.finished", Unit.COUNT, ("stage", "source"), "stage tasks that ended well"),
    Metric("stage.failed", Unit.COUNT, ("stage", "source"), "stage tasks that raised"),
    Metric("run.waiting", Unit.COUNT, ("source",), "runs whose plan waits for a person's approval"),
    Metric("run.late", Unit.COUNT, ("dag_id",), "runs past their deadline and not published"),
    Metric("documents.added", Unit.COUNT, ("source",), "documents that a plan found new"),
    Metric("documents.changed", Unit.COUNT, ("source",), "documents that a plan found changed"),
    Metric("documents.unchanged", Unit.COUNT, ("source",), "documents that a plan left as they are"),
    Metric("documents.deleted", Unit.COUNT, ("source",), "documents that a plan found gone"),
    Metric("documents.committed", Unit.COUNT, ("source",), "documents whose new generation became current"),
    Metric("documents.superseded", Unit.COUNT, ("source",), "documents that publish left to a newer plan"),
    Metric("documents.erased", Unit.COUNT, ("source",), "documents that a run left out because they are erased"),
    Metric("documents.quarantined", Unit.COUNT, ("source", "reason"), "documents sent to quarantine"),
    Metric("chunks.embedded", Unit.COUNT, ("source",), "texts that the model embedded"),
    Metric("chunks.reused", Unit.COUNT, ("source",), "texts whose vector was copied from the live index"),
    Metric("chunks.written", Unit.COUNT, ("source",), "chunks written to both stores and read back"),
    Metric("generations.swept", Unit.COUNT, (), "replaced or closed generations deleted from both stores"),
    Metric("erase.hidden", Unit.COUNT, (), "documents that an erasure hid from readers and barred"),
    Metric("erase.erased", Unit.COUNT, (), "documents of erasures that ended with a receipt"),
    Metric("erase.failed", Unit.COUNT, ("store",), "clearings of an erasure that failed, by where"),
    Metric("gate.passed", Unit.COUNT, ("gate", "source"), "gates that let the run go on"),
    Metric("gate.failed", Unit.COUNT, ("gate", "source"), "gates that stopped the run"),
    Metric("build.copied", Unit.COUNT, ("source",), "documents of a new index version taken over from artefacts"),
    Metric("build.cut", Unit.COUNT, ("source",), "documents of a new index version read from their source again"),
    Metric("build.carried", Unit.COUNT, ("source",), "documents of a new index version that could not be cut anew"),
    Metric("build.gate_passed", Unit.COUNT, ("gate",), "gates that let a new index version go on"),
    Metric("build.gate_failed", Unit.COUNT, ("gate",), "gates that a new index version failed"),
    Metric("index.swapped", Unit.COUNT, (), "swaps of the live index version, rollbacks included"),
    Metric("index.dropped", Unit.COUNT, (), "index versions deleted from the stores and the ledger"),
    Metric("store.circuit", Unit.COUNT, ("store", "state"), "changes of a store's circuit: open, half-open, closed"),
    Metric("search.answered", Unit.COUNT, (), "searches that gave an answer"),
    Metric("search.failed", Unit.COUNT, ("error",), "searches that raised, by class of the error"),
    Metric("search.restarted", Unit.COUNT, (), "attempts of a search that outlived its time and started again"),
    Metric("verify.sound", Unit.COUNT, (), "verifications that found nothing"),
    Metric("verify.unsound", Unit.COUNT, (), "verifications that found something"),
    Metric("verify.findings", Unit.COUNT, ("kind", "store"), "rows that a verification found wrong"),
    Metric("repair.done", Unit.COUNT, ("what",), "rows, documents and marks that a repair put right, by kind"),
    Metric("repair.waiting", Unit.COUNT, ("source",), "damaged documents that wait for a reload"),
)
_TIMINGS = (
    Metric("stage.duration", Unit.MILLISECONDS, ("stage", "source"), "wall time of one stage task"),
    Metric("index.swap", Unit.MILLISECONDS, (), "from the decision to swap until alias and pointer followed"),
    Metric("publish.held", Unit.MILLISECONDS, (), "how long a swap kept runs from publishing"),
    Metric("search.duration", Unit.MILLISECONDS, (), "wall time of one search, its query's embedding included"),
    Metric("relevance.duration", Unit.MILLISECONDS, (), "wall time of one relevance gate"),
    Metric("verify.duration", Unit.MILLISECONDS, (), "wall time of one verification"),
    Metric("repair.duration", Unit.MILLISECONDS, (), "wall time of one repair, its verifications included"),
)
METRICS: Mapping[str, Metric] = {metric.name: metric for metric in (*_COUNTERS, *_TIMINGS)}


class Backend(Protocol):
    """Carries metrics away. Names come without prefix; tag values are clean. Must not raise."""

    def increment(self, name: str, n: int, tags: Mapping[str, str]) -> None: ...

    def timing(self, name: str, milliseconds: float, tags: Mapping[str, str]) -> None: ...


class NoBackend:
    """Metrics go nowhere."""

    def increment(self, name: str, n: int, tags: Mapping[str, str]) -> None:
        return None

    def timing(self, name: str, milliseconds: float, tags: Mapping[str, str]) -> None:
        return None


class StatsdBackend:
    """UDP to a StatsD server or exporter, tags in the metric's name as InfluxDB writes them."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def increment(self, name: str, n: int, tags: Mapping[str, str]) -> None:
        self._client.incr(_tagged(name, tags), n)

    def timing(self, name: str, milliseconds: float, tags: Mapping[str, str]) -> None:
        self._client.timing(_tagged(name, tags), milliseconds)

    def close(self) -> None:
        self._client.close()


_backend: Backend = NoBackend()


def use(backend: Backend) -> Backend:
    """Send what follows to `backend`; returns the one before, for whoever wants to put it back."""
    global _backend
    previous, _backend = _backend, backend
    return previous


def configure(settings: Settings) -> None:
    """StatsD if the settings name a host. A host that cannot be resolved is logged, and metrics go nowhere: a metric
    must not stop a run."""
    close()
    if not settings.statsd_host:
        return
    import statsd

    try:
        client = statsd.StatsClient(settings.statsd_host, settings.statsd_port, prefix=settings.statsd_prefix)
    except OSError as error:
        _log.warning("no metrics: statsd_host cannot be resolved (%s): correct the setting", type(error).__name__)
        return
    use(StatsdBackend(client))


def close() -> None:
    """Metrics go nowhere from here on; the StatsD socket is closed."""
    previous = use(NoBackend())
    if isinstance(previous, StatsdBackend):
        previous.close()


def count(name: str, n: int = 1, **tags: str) -> None:
    """Add `n` to a counter; 0 is not sent. Raises `ValueError` for a name or a tag that `METRICS` does not have."""
    clean = _clean(name, Unit.COUNT, tags)
    if n:
        _backend.increment(name, n, clean)


def timing(name: str, seconds: float, **tags: str) -> None:
    """Report a duration. Raises `ValueError` for a name or a tag that `METRICS` does not have."""
    _backend.timing(name, seconds * 1000, _clean(name, Unit.MILLISECONDS, tags))


@contextmanager
def timer(name: str, **tags: str) -> Iterator[None]:
    """Report how long the block took, also when it raised."""
    _clean(name, Unit.MILLISECONDS, tags)
    started = time.monotonic()
    try:
        yield
    finally:
        timing(name, time.monotonic() - started, **tags)


@contextmanager
def stage(name: str, *, source: str) -> Iterator[None]:
    """Report a stage: its duration, and whether it finished or failed."""
    outcome = "failed"
    try:
        with timer("stage.duration", stage=name, source=source):
            yield
        outcome = "finished"
    finally:
        count(f"stage.{outcome}", stage=name, source=source)


def clean_tag(value: str) -> str:
    """A tag value of letters, digits and `_ . -`, at most 64: for one other character exporters drop the metric."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", value)[:64] or "none"


def _clean(name: str, unit: Unit, tags: Mapping[str, str]) -> dict[str, str]:
    metric = METRICS.get(name)
    if metric is None or metric.unit is not unit:
        raise ValueError(f"there is no metric {name!r} in {unit.value}: enter it in METRICS first")
    if set(tags) != set(metric.tags):
        raise ValueError(f"metric {name!r} has the tags {metric.tags}, not {tuple(sorted(tags))}")
    return {tag: clean_tag(tags[tag]) for tag in metric.tags}


def _tagged(name: str, tags: Mapping[str, str]) -> str:
    return ",".join([name, *(f"{tag}={value}" for tag, value in tags.items())])
