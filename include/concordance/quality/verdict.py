"""What a gate says: counts, names of expectations and document ids, and never text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from concordance.errors import GateFailed
from concordance.model import Reason
from concordance.quality.runner import Judged


@dataclass(frozen=True, slots=True)
class Expectation:
    """One expectation over the whole run, in rows of whatever it looks at."""

    name: str
    evaluated: int
    failed: int

    def as_json(self) -> dict[str, Any]:
        return {"expectation": self.name, "evaluated": self.evaluated, "failed": self.failed}


@dataclass(frozen=True, slots=True)
class GateResult:
    """A gate's verdict. `evaluated` and the keys of `rejected` and `failed_by` are documents, `failed_by` what each of
    them failed; `figures` are what the next runs of the source are compared with."""

    gate: str
    passed: bool
    rejected: dict[UUID, Reason] = field(default_factory=dict)
    evaluated: int = 0
    expectations: tuple[Expectation, ...] = ()
    message: str = ""
    failed_by: dict[UUID, tuple[str, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    figures: dict[str, float] = field(default_factory=dict)
    started_at: str = ""
    ended_at: str = ""

    @property
    def failed_expectations(self) -> dict[str, int]:
        """How many rows failed, by expectation; those that all rows met are left out."""
        return {one.name: one.failed for one in self.expectations if one.failed}

    def as_json(self, *, max_documents: int) -> dict[str, Any]:
        """The verdict as it is kept: how many documents are rejected, and at most `max_documents` of them by id."""
        named = sorted(self.rejected.items())[:max_documents]
        return {
            "gate": self.gate,
            "passed": self.passed,
            "rejected": {str(document_id): reason.value for document_id, reason in named},
            "rejected_documents": len(self.rejected),
            "evaluated": self.evaluated,
            "expectations": [one.as_json() for one in self.expectations],
            "failed_expectations": dict(sorted(self.failed_expectations.items())),
            "message": self.message,
            "warnings": list(self.warnings),
            "figures": self.figures,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
        }

    def require(self) -> None:
        """Raises `GateFailed` with the message unless the gate passed."""
        if not self.passed:
            raise GateFailed(self.message)


@dataclass(slots=True)
class Tally:
    """What a gate has found so far, slice by slice: as large as what it rejects, not as the run."""

    gate: str
    evaluated: int = 0
    rejected: dict[UUID, Reason] = field(default_factory=dict)
    failed_by: dict[UUID, tuple[str, ...]] = field(default_factory=dict)
    fatal: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    _rows: dict[str, list[int]] = field(default_factory=dict)
    _started_at: str = field(default_factory=lambda: _now())

    def take(
        self,
        judged: Iterable[Judged],
        document_ids: Sequence[object] | None = None,
        *,
        reason_of: Callable[[str], Reason] = lambda _: Reason.GATE_DOCUMENTS,
    ) -> None:
        """Count what was judged. `document_ids` are the documents of the rows; None: the run as a whole answers for
        them, and one that fails fails the gate. So does a row whose document has no id."""
        for one in judged:
            rows = self._rows.setdefault(one.expectation, [0, 0])
            rows[0] += one.evaluated
            rows[1] += len(one.failed)
            if not one.failed:
                continue
            found = {None} if document_ids is None else {_uuid(document_ids[row]) for row in one.failed}
            if None in found and one.expectation not in self.fatal:
                self.fatal.append(one.expectation)
            for document_id in found - {None}:
                assert document_id is not None
                self.rejected.setdefault(document_id, reason_of(one.expectation))
                if one.expectation not in self.failed_by.get(document_id, ()):
                    self.failed_by[document_id] = (*self.failed_by.get(document_id, ()), one.expectation)

    def verdict(self, *, most_of: Callable[[int], int], jumps_stop: Sequence[str] = ()) -> GateResult:
        """The gate's verdict; `most_of` says how many of so many documents may be rejected."""
        most = most_of(self.evaluated)
        is_within = len(self.rejected) <= most
        return GateResult(
            gate=self.gate,
            passed=is_within and not self.fatal and not jumps_stop,
            rejected=self.rejected,
            evaluated=self.evaluated,
            expectations=tuple(Expectation(name, *rows) for name, rows in self._rows.items()),
            message=self._message(is_within=is_within, most=most, jumps_stop=jumps_stop),
            failed_by=self.failed_by,
            warnings=tuple(self.warnings),
            figures=self.figures,
            started_at=self._started_at,
            ended_at=_now(),
        )

    def _message(self, *, is_within: bool, most: int, jumps_stop: Sequence[str]) -> str:
        gate, evaluated, rejected = self.gate, self.evaluated, len(self.rejected)
        if self.fatal:
            said = f"The gate {gate} failed as a whole on {', '.join(self.fatal)}: nothing of the run becomes visible"
        elif not is_within:
            said = (
                f"The gate {gate} rejected {rejected} of {evaluated} documents, more than the allowed "
                f"{most}: nothing of the run becomes visible. The failed expectations say what is wrong"
            )
        elif jumps_stop:
            said = f"The gate {gate} stops the run, as the setting jumps_stop says: nothing of it becomes visible"
        elif rejected:
            said = f"The gate {gate} passed; {rejected} of {evaluated} documents go to quarantine"
        elif evaluated:
            said = f"The gate {gate} passed all of {evaluated} documents"
        elif self._rows:
            said = f"The gate {gate} passed; there was no document to judge by itself"
        else:
            said = f"The gate {gate} had nothing to check"
        return ". ".join((said, *self.warnings))


def _uuid(value: object) -> UUID | None:
    try:
        return value if isinstance(value, UUID) else UUID(str(value))
    except ValueError:
        return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
