"""Every error that the product raises, in one tree.

    ConcordanceError
    ├── Transient              the same call may succeed later: retried in the call, then by the orchestrator
    │   ├── Unavailable        a store, the ledger or a source does not answer
    │   ├── OutcomeUnknown     the request may or may not have been applied: the same one is sent again
    │   ├── Leased             another worker holds the lease: wait until it ends
    │   └── BatchTooLarge      the store ran out of memory for one transaction: halve it
    └── Terminal               the same call will fail again: a person, or another input, is needed
        ├── PoisonDocument     one document cannot be loaded: it is quarantined, the others go on
        ├── Conflict           somebody else was first: a newer plan, another attempt, an erase
        ├── Misconfigured      a setting, an address, a secret or a model is wrong
        ├── GateFailed         a data-quality gate stopped the run
        └── Corrupt            an artefact or a row is not what its digest says

A message says what happened, to which document or batch, and what to do. It never holds document text or a secret.
Drivers' errors are translated into these where the driver is used, in one function a driver.
"""

from __future__ import annotations


class ConcordanceError(Exception):
    """Base of every error of this product."""


class Transient(ConcordanceError):
    """The same call may succeed later."""


class Unavailable(Transient):
    """A store, the ledger or a source does not answer."""


class OutcomeUnknown(Transient):
    """The request may or may not have been applied; sending the same one again is safe."""


class Leased(Transient):
    """Another worker holds the lease of this batch or source.

    `retry_after_seconds` is how long its lease still runs, by the ledger's clock.
    """

    def __init__(self, message: str, *, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds

    def __reduce__(self) -> tuple[object, ...]:
        return (_leased, (str(self), self.retry_after_seconds))


def _leased(message: str, retry_after_seconds: float) -> Leased:
    # Exceptions with keyword-only arguments cannot be unpickled by their class alone, and task runners pickle them.
    return Leased(message, retry_after_seconds=retry_after_seconds)


class BatchTooLarge(Transient):
    """One transaction was too large for the store's memory; the same one would fail again, half of it may not."""


class Terminal(ConcordanceError):
    """The same call will fail again."""


class PoisonDocument(Terminal):
    """One document cannot pass; `reason` is its code in the quarantine (see `model.Reason`)."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[object, ...]:
        return (_poison, (str(self), self.reason))


def _poison(message: str, reason: str) -> PoisonDocument:
    return PoisonDocument(message, reason=reason)


class Conflict(Terminal):
    """Somebody else was first: a newer plan, another attempt of the same batch, an erase, another index version."""


class Misconfigured(Terminal):
    """A setting, an address, a secret, a source declaration or a model is wrong."""


class GateFailed(Terminal):
    """A data-quality gate stopped the run; nothing that it loaded is visible."""


class Corrupt(Terminal):
    """An artefact or a row is not what its digest says."""
