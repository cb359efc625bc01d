"""The ledger: the PostgreSQL schema that is the only truth about sources, plans, batches, generations and versions."""

from concordance.ledger.ledger import Ledger, open_ledger
from concordance.ledger.reading import Snapshot

__all__ = ["Ledger", "Snapshot", "open_ledger"]
