"""Verdicts: what the gates of a run said, and what follows for the documents that they rejected, in one transaction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from concordance.ledger.database import Cursor, Database
from concordance.ledger.quarantine import quarantine_rows
from concordance.model import Rejection


@dataclass(frozen=True, slots=True)
class Verdict:
    """The newest verdict of one gate in one run; `artefact` is the JSON of the staged result's reference."""

    run_id: str
    source: str
    run_state: str
    gate: str
    artefact: dict[str, Any]
    at: datetime


class Verdicts:
    def __init__(self, database: Database) -> None:
        self._database = database

    def record(
        self,
        plan_id: UUID,
        gate: str,
        artefact: dict[str, Any],
        *,
        rejections: Sequence[Rejection],
        rejected_under: str,
    ) -> None:
        """Keep the gate's newest result, and record why these documents left the run (their current generations stay).
        A repeated call changes nothing but the time."""

        def work(cursor: Cursor) -> None:
            cursor.execute(
                "INSERT INTO verdicts (plan_id, gate, artefact) VALUES (%s, %s, %s) "
                "ON CONFLICT (plan_id, gate) DO UPDATE SET artefact = excluded.artefact, at = excluded.at",
                [plan_id, gate, json.dumps(artefact)],
            )
            if rejections:
                quarantine_rows(cursor, plan_id, rejections, rejected_under=rejected_under)

        self._database.transact("record a gate's verdict", work)

    def newest(self, *, run_id: str, gate: str) -> Verdict | None:
        """What this gate said last in this run; None when it has said nothing."""

        def work(cursor: Cursor) -> Verdict | None:
            cursor.execute(
                "SELECT r.run_id, r.source, r.state, v.gate, v.artefact, v.at FROM verdicts v "
                "JOIN plans p USING (plan_id) JOIN runs r USING (run_id) "
                "WHERE p.run_id = %s AND v.gate = %s ORDER BY p.number DESC LIMIT 1",
                [run_id, gate],
            )
            row = cursor.fetchone()
            return None if row is None else Verdict(*row)

        return self._database.transact("read a gate's verdict", work)
