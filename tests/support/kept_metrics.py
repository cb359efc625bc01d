"""A metrics backend that keeps what it is given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from concordance.operations import telemetry

Tags = tuple[tuple[str, str], ...]


class KeptMetrics:
    """`counters` are sums by name and tags; `gauges` the last values; `timers` every sample, in milliseconds."""

    def __init__(self) -> None:
        self.counters: Counter[tuple[str, Tags]] = Counter()
        self.gauges: dict[tuple[str, Tags], float] = {}
        self.timers: list[tuple[str, Tags, float]] = []

    def increment(self, name: str, n: int, tags: Mapping[str, str]) -> None:
        assert n > 0, "what did not happen was sent"
        self.counters[name, tuple(sorted(tags.items()))] += n

    def gauge(self, name: str, value: float, tags: Mapping[str, str]) -> None:
        self.gauges[name, tuple(sorted(tags.items()))] = value

    def timing(self, name: str, milliseconds: float, tags: Mapping[str, str]) -> None:
        self.timers.append((name, tuple(sorted(tags.items())), milliseconds))

    def of(self, name: str) -> dict[Tags, int]:
        """One counter's sums by tags."""
        return {tags: n for (counter, tags), n in self.counters.items() if counter == name}

    def total(self, name: str) -> int:
        return sum(self.of(name).values())

    @property
    def timed(self) -> list[tuple[str, Tags]]:
        return [(name, tags) for name, tags, _ in self.timers]


@contextmanager
def kept_metrics() -> Iterator[KeptMetrics]:
    """What is sent inside is kept."""
    kept = KeptMetrics()
    previous = telemetry.use(kept)
    try:
        yield kept
    finally:
        telemetry.use(previous)
