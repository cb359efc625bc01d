"""The two locks that outlive a transaction: a source belongs to one run at a time, the builder's place to one build.

Both are leases by the ledger's clock: who died gives them back when they run out.
"""

from __future__ import annotations

from concordance.errors import Leased
from concordance.ledger.database import Cursor


def take_source(cursor: Cursor, *, source: str, run_id: str, seconds: float) -> None:
    """Hold the source for another span. Raises `Leased` while another run holds it."""
    cursor.execute(
        "SELECT lease_holder, extract(epoch FROM lease_until - clock_timestamp())::float8 FROM sources "
        "WHERE source = %s FOR UPDATE",
        [source],
    )
    row = cursor.fetchone()
    if row is not None and row[0] not in (None, run_id) and row[1] is not None and row[1] > 0:
        raise Leased(
            f"Source {source!r} is being ingested by run {row[0]!r}: wait until it has ended (a run that died gives "
            f"its lease back in {row[1]:.0f} s)",
            retry_after_seconds=row[1],
        )
    cursor.execute(
        "UPDATE sources SET lease_holder = %s, lease_until = clock_timestamp() + make_interval(secs => %s) "
        "WHERE source = %s",
        [run_id, seconds, source],
    )


def holds_source(cursor: Cursor, *, source: str, run_id: str) -> bool:
    cursor.execute("SELECT lease_holder FROM sources WHERE source = %s FOR UPDATE", [source])
    row = cursor.fetchone()
    return row is not None and row[0] == run_id


def give_back(cursor: Cursor, *, source: str, run_id: str) -> None:
    """Free the source, if this run holds it."""
    cursor.execute(
        "UPDATE sources SET lease_until = NULL, lease_holder = NULL WHERE source = %s AND lease_holder = %s",
        [source, run_id],
    )


def take_builder(cursor: Cursor, *, build_id: str, seconds: float) -> None:
    """Hold the builder's place for another span. Raises `Leased` while another build holds it."""
    cursor.execute("SELECT holder, extract(epoch FROM lease_until - clock_timestamp())::float8 FROM builder FOR UPDATE")
    holder, left = cursor.fetchone() or (None, None)
    if holder not in (None, build_id) and left is not None and left > 0:
        raise Leased(
            f"Build {holder!r} is at work: one index version is built at a time. Wait until it has ended (one that "
            f"died gives its lease back in {left:.0f} s)",
            retry_after_seconds=left,
        )
    cursor.execute(
        "UPDATE builder SET holder = %s, lease_until = clock_timestamp() + make_interval(secs => %s)",
        [build_id, seconds],
    )


def holds_builder(cursor: Cursor, *, build_id: str) -> bool:
    cursor.execute("SELECT holder FROM builder FOR UPDATE")
    row = cursor.fetchone()
    return row is not None and row[0] == build_id


def give_builder_back(cursor: Cursor, *, build_id: str) -> None:
    """Free the builder's place, if this build holds it."""
    cursor.execute("UPDATE builder SET holder = NULL, lease_until = NULL WHERE holder = %s", [build_id])
