"""The ledger's parts under one roof, on one pool of connections."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from uuid import UUID

from concordance.circuit import Circuit
from concordance.ledger.alerting import Alerting
from concordance.ledger.batches import Batches
from concordance.ledger.building import Building
from concordance.ledger.counting import Counting
from concordance.ledger.database import Cursor, Database
from concordance.ledger.erasing import Erasing
from concordance.ledger.expiring import Expiring
from concordance.ledger.freshness import Freshness
from concordance.ledger.plans import Plans
from concordance.ledger.publishing import Publishing
from concordance.ledger.quarantine import Quarantine
from concordance.ledger.reading import Snapshot
from concordance.ledger.rebuilding import Rebuilding
from concordance.ledger.repairing import Repairing
from concordance.ledger.runs import Runs
from concordance.ledger.settling import Settling
from concordance.ledger.swapping import Swapping
from concordance.ledger.verdicts import Verdicts
from concordance.ledger.versions import Versions
from concordance.settings import Settings


class Ledger:
    """`versions`, `runs`, `plans`, `verdicts`, `batches`, `publishing`, `counting`, `building`, `swapping`, `settling`,
    `erasing`, `alerting` write; `snapshot` reads one moment."""

    def __init__(self, settings: Settings) -> None:
        self._database = Database(settings)
        self.versions = Versions(self._database)
        self.runs = Runs(self._database, lease_seconds=settings.source_lease_seconds)
        self.plans = Plans(self._database)
        self.verdicts = Verdicts(self._database)
        self.batches = Batches(self._database, lease_seconds=settings.lease_seconds)
        self.publishing = Publishing(self._database)
        self.counting = Counting(self._database)
        self.building = Building(self._database, lease_seconds=settings.source_lease_seconds)
        self.swapping = Swapping(self._database, sweep_grace_seconds=settings.sweep_grace_seconds)
        self.quarantine = Quarantine(self._database)
        self.repairing = Repairing(self._database)
        self.rebuilding = Rebuilding(self._database)
        self.settling = Settling(self._database, sweep_grace_seconds=settings.sweep_grace_seconds)
        self.alerting = Alerting(self._database, lease_seconds=settings.alert_lease_seconds)
        self.freshness = Freshness(self._database)
        self.expiring = Expiring(self._database)
        self.erasing = Erasing(self._database, sweep_grace_seconds=settings.sweep_grace_seconds)

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Everything read inside the block belongs to one moment."""
        with self._database.reading("read a snapshot of the ledger") as cursor:
            yield Snapshot(cursor)

    def erased(self, document_ids: Collection[UUID]) -> set[UUID]:
        """Those of the documents that are erased now, whatever an older snapshot says."""

        def work(cursor: Cursor) -> set[UUID]:
            cursor.execute(
                "SELECT document_id FROM tombstones WHERE kind = 'erased' AND document_id = ANY(%s)",
                [list(document_ids)],
            )
            return {row[0] for row in cursor}

        return self._database.transact("read what is erased", work)

    def ping(self) -> str:
        """The server's name and version. Raises `Unavailable` or `Misconfigured`."""

        def work(cursor: Cursor) -> str:
            cursor.execute("SHOW server_version")
            row = cursor.fetchone()
            return f"PostgreSQL {row[0] if row else '?'}"

        return self._database.transact("ping the ledger", work)

    def size_bytes(self) -> int:
        """What the ledger's database takes on its server's disk."""

        def work(cursor: Cursor) -> int:
            cursor.execute("SELECT pg_database_size(current_database())")
            (size,) = cursor.fetchone() or (0,)
            return int(size)

        return self._database.transact("read the size of the ledger", work)

    @property
    def circuit(self) -> Circuit:
        """Whether this process leaves the ledger alone now."""
        return self._database.circuit

    def close(self) -> None:
        self._database.close()


def open_ledger(settings: Settings) -> Ledger:
    """A ledger on the settings' PostgreSQL; connects at its first use."""
    return Ledger(settings)
