"""What there is, in numbers: rows of the live version in each store, what waits in quarantine, bytes on disks.

Counted every `sizes_interval_seconds` at most, over cheap questions that each store answers from an index or from what
it counts anyway; a store that does not answer is left out of this count. The engines do not tell their sizes but for
PostgreSQL: the others are measured in the folders of the local stack, and not at all elsewhere.
"""

from __future__ import annotations

import os
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from concordance.errors import ConcordanceError
from concordance.ledger import Ledger, open_ledger
from concordance.model import IndexVersion
from concordance.operations import process, telemetry
from concordance.operations.alerts import AlertKind, Breach
from concordance.settings import Settings
from concordance.staging import KINDS, Staging
from concordance.stores import open_graph, open_vectors


@dataclass(slots=True)
class Sizes:
    """Watches nothing, and counts. Its alerts are Prometheus's: what is too large differs from place to place."""

    settings: Settings
    kinds: frozenset[AlertKind] = field(init=False, default=frozenset())
    _counted_at: float | None = field(init=False, default=None)
    _waiting: dict[tuple[str, str], int] = field(init=False, default_factory=dict)

    def look(self, now: datetime) -> list[Breach]:
        """Report the sizes if it is time; never a breach. Raises `Unavailable` when the ledger does not answer."""
        started = time.monotonic()
        if self._counted_at is not None and started - self._counted_at < self.settings.sizes_interval_seconds:
            return []
        self._counted_at = started
        once = self.settings.model_copy(update={"retry_attempts": 1})
        with closing(open_ledger(once)) as ledger:
            self._disks(ledger)
            self._quarantine(ledger)
            live = ledger.versions.live()
            if live is not None:
                self._rows(live, ledger, once)
        return []

    def _rows(self, live: IndexVersion, ledger: Ledger, settings: Settings) -> None:
        telemetry.gauge("index.version", live.version)
        with ledger.snapshot() as snapshot:
            known = snapshot.counts(live)
        rows = {("documents", "ledger"): known["documents"], ("chunks", "ledger"): known["chunks"]}
        with suppress(ConcordanceError), closing(open_graph(settings)) as graph:
            counted = graph.counts(live, only=("documents", "chunks")).rows
            rows |= {("documents", "graph"): counted["documents"], ("chunks", "graph"): counted["chunks"]}
        with suppress(ConcordanceError), closing(open_vectors(settings)) as vectors:
            rows["chunks", "vectors"] = vectors.counts(live).rows["points"]
        for (what, store), number in rows.items():
            telemetry.gauge("parity.rows", number, what=what, store=store)

    def _quarantine(self, ledger: Ledger) -> None:
        found = ledger.quarantine.waiting()
        # A level stays until the next one: what no longer waits is said to be none.
        for source, reason in self._waiting.keys() | found.keys():
            telemetry.gauge("quarantine.waiting", found.get((source, reason), 0), source=source, reason=reason)
        self._waiting = found

    def _disks(self, ledger: Ledger) -> None:
        telemetry.gauge("store.bytes", ledger.size_bytes(), store="ledger")
        local = {"graph": self.settings.neo4j_url, "vectors": self.settings.qdrant_url}
        for store, url in local.items():
            folder = self.settings.state_dir / store
            if not url and folder.is_dir():
                telemetry.gauge("store.bytes", folder_bytes(folder), store=store)
        staging = Staging(self.settings.staging)
        with suppress(ConcordanceError):
            telemetry.gauge("staging.bytes", sum(file.size_bytes for kind in KINDS for file in staging.files(kind)))
        for place, free in process.free_bytes(self.settings).items():
            telemetry.gauge("disk.free_bytes", free, place=place)


def folder_bytes(folder: Path) -> int:
    """The sizes of the regular files below the folder; what goes while they are counted is left out."""
    size = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                size += os.lstat(os.path.join(path, name)).st_size
    return size
