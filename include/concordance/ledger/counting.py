"""How much of what a plan did was told to the metrics, so that an attempt that comes again tells only what is new.

A counter that is sent as a thing happens is sent again when the task is repeated, and never if its process dies just
before. So a stage says at its end how much there is by now, and what exceeds the last time is sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from uuid import UUID

from concordance.ledger.database import Database


class Counting:
    def __init__(self, database: Database) -> None:
        self._database = database

    @contextmanager
    def new(self, plan_id: UUID, totals: Mapping[str, int]) -> Iterator[dict[str, int]]:
        """By how much each of `totals` exceeds what was counted of this plan. Once the block has ended well, it is
        counted; a process that dies inside the block leaves it to the next attempt. Another attempt waits meanwhile."""
        with self._database.locking("count what a run did") as cursor:
            cursor.execute("INSERT INTO counted (plan_id) VALUES (%s) ON CONFLICT DO NOTHING", [plan_id])
            cursor.execute("SELECT totals FROM counted WHERE plan_id = %s FOR UPDATE", [plan_id])
            row = cursor.fetchone()
            assert row is not None
            counted: dict[str, int] = row[0]
            new = {name: n - counted.get(name, 0) for name, n in totals.items() if n > counted.get(name, 0)}
            if new:
                reached = {**counted, **{name: totals[name] for name in new}}
                # Before the block: between what it sends and the commit stands nothing that could still fail.
                cursor.execute("UPDATE counted SET totals = %s WHERE plan_id = %s", [json.dumps(reached), plan_id])
            yield new
