"""The calls that emit a metric of `metrics.METRICS`, and what carries it away.

`count` and `timer` are called where a thing has just happened, never where it was only meant to. They cannot fail a
run: what carries them away (a backend) may lose a packet; but an unknown name or tag is a defect and raises. The
backend is StatsD with InfluxDB-style tags (`name,tag=value`, as Airflow's own) if `statsd_host` is set, else nothing;
Airflow's processes put their own in its place with `use`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import structlog

from concordance.operations import correlation, process
from concordance.operations.metrics import METRICS, Kind
from concordance.settings import Settings

_log = structlog.get_logger(__name__)


class Backend(Protocol):
    """Carries metrics away. Names come without prefix; tag values are clean. Must not raise."""

    def increment(self, name: str, n: int, tags: Mapping[str, str]) -> None: ...

    def gauge(self, name: str, value: float, tags: Mapping[str, str]) -> None: ...

    def timing(self, name: str, milliseconds: float, tags: Mapping[str, str]) -> None: ...


class NoBackend:
    """Metrics go nowhere."""

    def increment(self, name: str, n: int, tags: Mapping[str, str]) -> None:
        return None

    def gauge(self, name: str, value: float, tags: Mapping[str, str]) -> None:
        return None

    def timing(self, name: str, milliseconds: float, tags: Mapping[str, str]) -> None:
        return None


class StatsdBackend:
    """UDP to a StatsD server or exporter, tags in the metric's name as InfluxDB writes them."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def increment(self, name: str, n: int, tags: Mapping[str, str]) -> None:
        self._client.incr(_tagged(name, tags), n)

    def gauge(self, name: str, value: float, tags: Mapping[str, str]) -> None:
        self._client.gauge(_tagged(name, tags), value)

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
        _log.warning("no metrics: statsd_host cannot be resolved: correct the setting", error=type(error).__name__)
        return
    use(StatsdBackend(client))


def close() -> None:
    """Metrics go nowhere from here on; the StatsD socket is closed."""
    previous = use(NoBackend())
    if isinstance(previous, StatsdBackend):
        previous.close()


def count(name: str, n: int = 1, **tags: str) -> None:
    """Add `n` to a counter; 0 is not sent. Raises `ValueError` for a name or a tag that `METRICS` does not have."""
    clean = _clean(name, Kind.COUNTER, tags)
    if n:
        _backend.increment(name, n, clean)


def gauge(name: str, value: float, **tags: str) -> None:
    """Report a level, 0 or more, in the metric's unit. Raises `ValueError` for a name or a tag that `METRICS` does not
    have, and for a negative value, which StatsD would take for a difference."""
    if value < 0:
        raise ValueError(f"metric {name!r} is a level and cannot be {value}")
    _backend.gauge(name, value, _clean(name, Kind.GAUGE, tags))


def timing(name: str, seconds: float, **tags: str) -> None:
    """Report a duration. Raises `ValueError` for a name or a tag that `METRICS` does not have."""
    _backend.timing(name, seconds * 1000, _clean(name, Kind.TIMER, tags))


@contextmanager
def timer(name: str, **tags: str) -> Iterator[None]:
    """Report how long the block took, also when it raised."""
    _clean(name, Kind.TIMER, tags)
    started = time.monotonic()
    try:
        yield
    finally:
        timing(name, time.monotonic() - started, **tags)


@contextmanager
def stage(name: str, *, source: str, settings: Settings, attempt: int = 1) -> Iterator[None]:
    """Report one attempt of a stage: its duration, whether it finished or failed, what it cost this process, and what
    is free on the disks that it writes to. Its lines and calls carry its name."""
    if attempt > 1:
        count("stage.retried", stage=name, source=source)
    metric, before = "stage.failed", process.cpu_seconds()
    try:
        with correlation.stage(name, source=source), timer("stage.duration", stage=name, source=source):
            yield
        metric = "stage.finished"
    finally:
        count(metric, stage=name, source=source)
        # A child that nobody waited for takes what it used with it.
        spent = max(0.0, process.cpu_seconds() - before)
        count("process.cpu_milliseconds", round(spent * 1000), stage=name)
        gauge("process.memory_bytes", process.peak_bytes(), stage=name)
        for place, free in process.free_bytes(settings).items():
            gauge("disk.free_bytes", free, place=place)


def clean_tag(value: str) -> str:
    """A tag value of letters, digits and `_ . -`, at most 64: for one other character exporters drop the metric."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", value)[:64] or "none"


def _clean(name: str, kind: Kind, tags: Mapping[str, str]) -> dict[str, str]:
    metric = METRICS.get(name)
    if metric is None or metric.kind is not kind:
        raise ValueError(f"there is no {kind.value} {name!r}: enter it in METRICS first")
    if set(tags) != set(metric.tags):
        raise ValueError(f"metric {name!r} has the tags {metric.tags}, not {tuple(sorted(tags))}")
    return {tag: clean_tag(tags[tag]) for tag in metric.tags}


def _tagged(name: str, tags: Mapping[str, str]) -> str:
    return ",".join([name, *(f"{tag}={value}" for tag, value in tags.items())])
