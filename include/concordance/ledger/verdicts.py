"""Verdicts: what the gates of a run said, and what follows for the documents that they rejected, in one transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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
        figures: Mapping[str, float],
        warnings: Sequence[str],
        rejections: Sequence[Rejection],
        rejected_under: str,
    ) -> None:
        """Keep the gate's newest result with what later runs are compared with, and record why these documents left the
        run (their current generations stay). A repeated call changes nothing but the time."""

        def work(cursor: Cursor) -> None:
            cursor.execute(
                "INSERT INTO verdicts (plan_id, gate, artefact, figures, warnings) VALUES (%s, %s, %s, %s, %s) "
                "ON CONFLICT (plan_id, gate) DO UPDATE SET artefact = excluded.artefact, figures = excluded.figures, "
                "warnings = excluded.warnings, at = excluded.at",
                [plan_id, gate, json.dumps(artefact), json.dumps(dict(figures)), list(warnings)],
            )
            if rejections:
                quarantine_rows(cursor, plan_id, rejections, rejected_under=rejected_under)

        self._database.transact("record a gate's verdict", work)

    def warnings(self, plan_id: UUID) -> tuple[str, ...]:
        """What the gates of this plan warn of."""

        def work(cursor: Cursor) -> tuple[str, ...]:
            cursor.execute("SELECT unnest(warnings) FROM verdicts WHERE plan_id = %s ORDER BY gate", [plan_id])
            return tuple(row[0] for row in cursor)

        return self._database.transact("read what the gates warn of", work)

    def earlier_figures(self, run_id: str, *, limit: int) -> list[dict[str, float]]:
        """The gates' figures of the last published runs of the same source and scope, at most `limit`, newest first.
        None for a replay, which reads what no other run does."""

        def work(cursor: Cursor) -> list[dict[str, float]]:
            cursor.execute(_EARLIER_FIGURES, [run_id, limit])
            return [{name: value for gate in row[0] for name, value in gate.items()} for row in cursor]

        return self._database.transact("read the figures of earlier runs", work)

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


_EARLIER_FIGURES = """
SELECT jsonb_agg(v.figures) FROM runs this
JOIN runs r ON r.source = this.source AND r.run_id <> this.run_id
  AND r.request ->> 'subpath' = this.request ->> 'subpath'
JOIN plans p ON p.run_id = r.run_id AND p.state = 'published'
JOIN verdicts v USING (plan_id)
WHERE this.run_id = %s AND this.build_id IS NULL AND r.build_id IS NULL
  AND this.request ->> 'replay' IS NULL AND r.request ->> 'replay' IS NULL
GROUP BY r.run_id, r.started_at ORDER BY r.started_at DESC LIMIT %s
"""
