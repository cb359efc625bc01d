"""Do the ledger, the graph and the vectors agree? One function an invariant, used by tests, DAGs and command line."""

from concordance.consistency.invariants import Finding
from concordance.consistency.repair import RepairReport, repair
from concordance.consistency.verify import Scope, VerifyReport, verify

__all__ = ["Finding", "RepairReport", "Scope", "VerifyReport", "repair", "verify"]
