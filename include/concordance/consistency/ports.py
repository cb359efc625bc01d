"""What reconcile asks of the ledger: a reader's snapshot, and what the ledger promised."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol
from uuid import UUID

from concordance.ledger.reading import Promise
from concordance.model import DocumentRow, GenerationKey, IndexVersion, Span, StoredChunk


class AuditSnapshot(Protocol):
    """One REPEATABLE READ, READ ONLY transaction. `ledger.reading.Snapshot` is one."""

    def live(self) -> IndexVersion: ...

    def kept(self) -> Sequence[IndexVersion]: ...

    def committed(self, version: IndexVersion, span: Span | None = None) -> Iterator[StoredChunk]: ...

    def current(
        self, version: IndexVersion, keys: Collection[GenerationKey]
    ) -> Mapping[GenerationKey, DocumentRow]: ...

    def in_flight(self, version: IndexVersion) -> Collection[GenerationKey]: ...

    def counts(self, version: IndexVersion) -> Mapping[str, int]: ...

    def promises(self, version: IndexVersion, *, after: UUID, limit: int) -> Sequence[Promise]: ...

    def promises_of(self, version: IndexVersion, keys: Collection[GenerationKey]) -> Sequence[Promise]: ...

    def miscounted(self, version: IndexVersion) -> Sequence[GenerationKey]: ...

    def overdue(self, version: IndexVersion, *, seconds: float) -> Sequence[GenerationKey]: ...

    def forbidden_history(self) -> Mapping[str, int]: ...


class AuditLedger(Protocol):
    def snapshot(self) -> AbstractContextManager[AuditSnapshot]:
        """Open a snapshot; it ends with the block."""
