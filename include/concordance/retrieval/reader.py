"""What a reader asks of the ledger: the read side of `concordance.ledger`, as a port.

A reader sees the index as one moment of the ledger: the snapshot. Only the erased documents are asked outside of it,
because an erase must hold for readers that began before it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Protocol
from uuid import UUID

from concordance.model import DocumentRow, GenerationKey, IndexVersion, StoredChunk


class LedgerSnapshot(Protocol):
    """One REPEATABLE READ, READ ONLY transaction."""

    def live(self) -> IndexVersion:
        """The live index version. Raises `Misconfigured` when nothing was published yet."""

    def current(self, version: IndexVersion, keys: Collection[GenerationKey]) -> Mapping[GenerationKey, DocumentRow]:
        """Those of the generations that are current, with their document's row."""

    def documents(self, version: IndexVersion, document_ids: Collection[UUID]) -> Mapping[UUID, DocumentRow]:
        """The current generation of each of the documents that has one."""

    def stale(self, version: IndexVersion, document_ids: Collection[UUID]) -> Collection[UUID]:
        """Those of the documents whose newer state is in quarantine."""

    def committed(self, version: IndexVersion) -> Iterator[StoredChunk]:
        """The chunks of all current generations, streamed, ordered by chunk id."""

    def in_flight(self, version: IndexVersion) -> Collection[GenerationKey]:
        """The dirty list: generations that a load, a settle or a sweep may be writing or deleting."""

    def counts(self, version: IndexVersion) -> Mapping[str, int]:
        """Rows by kind."""


class LedgerReader(Protocol):
    def snapshot(self) -> AbstractContextManager[LedgerSnapshot]:
        """Open a snapshot; it ends with the block."""

    def erased(self, document_ids: Collection[UUID]) -> Collection[UUID]:
        """Those of the documents that are erased by now, whatever a snapshot says."""
