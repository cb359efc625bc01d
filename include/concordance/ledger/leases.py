"""The two locks that outlive a transaction: a source belongs to one run at a time, the builder's place to one build.

Both are leases by the ledger's clock: who died gives them back when they run out.
"""

from __future__ import annotations

from concordance.errors import Leased
from concordance.ledger.database import Cursor


def take_source(cursor: Cursor, *, source: str, run_id: str, seconds: float) -> None:
    """Hold the source for another span. Raises `Leased` while another run holds it."""
    holder, left = _holder_of_source(cursor, source)
    if holder not in (None, run_id) and left > 0:
        raise Leased(
            f"Source {source!r} is being ingested by run {holder!r}: wait until it has ended (a run that died gives "
            f"its lease back in {left:.0f} s)",
            retry_after_seconds=left,
        )
    _hold_source(cursor, source=source, run_id=run_id, seconds=seconds)


def keep_source(cursor: Cursor, *, source: str, run_id: str, seconds: float) -> None:
    """The same for a run at work. Raises `Leased` when it does not hold the source any more, though nobody else may."""
    holder, left = _holder_of_source(cursor, source)
    if holder != run_id:
        raise Leased(
            f"Run {run_id!r} no longer holds source {source!r}: its lease ran out while it worked, or it was given "
            "back. Try again when nobody ingests the source",
            retry_after_seconds=left,
        )
    _hold_source(cursor, source=source, run_id=run_id, seconds=seconds)


def holds_source(cursor: Cursor, *, source: str, run_id: str) -> bool:
    return _holder_of_source(cursor, source)[0] == run_id


def _holder_of_source(cursor: Cursor, source: str) -> tuple[str | None, float]:
    """Who took the source last and did not give it back, and the seconds that are left of its lease, at least 0."""
    cursor.execute(
        "SELECT lease_holder, extract(epoch FROM lease_until - clock_timestamp())::float8 FROM sources "
        "WHERE source = %s FOR UPDATE",
        [source],
    )
    holder, left = cursor.fetchone() or (None, None)
    return holder, max(0.0, left or 0.0)


def _hold_source(cursor: Cursor, *, source: str, run_id: str, seconds: float) -> None:
    cursor.execute(
        "UPDATE sources SET lease_holder = %s, lease_until = clock_timestamp() + make_interval(secs => %s) "
        "WHERE source = %s",
        [run_id, seconds, source],
    )


def give_back(cursor: Cursor, *, source: str, run_id: str) -> None:
    """Free the source, if this run holds it."""
    cursor.execute(
        "UPDATE sources SET lease_until = NULL, lease_holder = NULL WHERE source = %s AND lease_holder = %s",
        [source, run_id],
    )


def take_builder(cursor: Cursor, *, build_id: str, seconds: float) -> None:
    """Hold the builder's place for another span. Raises `Leased` while another build holds it."""
    holder, left = _holder_of_builder(cursor)
    if holder not in (None, build_id) and left > 0:
        raise Leased(
            f"Build {holder!r} is at work: one index version is built at a time. Wait until it has ended (one that "
            f"died gives its lease back in {left:.0f} s)",
            retry_after_seconds=left,
        )
    _hold_builder(cursor, build_id=build_id, seconds=seconds)


def keep_builder(cursor: Cursor, *, build_id: str, seconds: float) -> None:
    """The same for a build at work. Raises `Leased` when it does not hold it any more, though nobody else may."""
    holder, left = _holder_of_builder(cursor)
    if holder != build_id:
        raise Leased(
            f"Build {build_id!r} no longer holds the builder's place: its lease ran out while it worked, or it was "
            "given back. Try again when no other build is at work",
            retry_after_seconds=left,
        )
    _hold_builder(cursor, build_id=build_id, seconds=seconds)


def holds_builder(cursor: Cursor, *, build_id: str) -> bool:
    return _holder_of_builder(cursor)[0] == build_id


def _holder_of_builder(cursor: Cursor) -> tuple[str | None, float]:
    cursor.execute("SELECT holder, extract(epoch FROM lease_until - clock_timestamp())::float8 FROM builder FOR UPDATE")
    holder, left = cursor.fetchone() or (None, None)
    return holder, max(0.0, left or 0.0)


def _hold_builder(cursor: Cursor, *, build_id: str, seconds: float) -> None:
    cursor.execute(
        "UPDATE builder SET holder = %s, lease_until = clock_timestamp() + make_interval(secs => %s)",
        [build_id, seconds],
    )


def give_builder_back(cursor: Cursor, *, build_id: str) -> None:
    """Free the builder's place, if this build holds it."""
    cursor.execute("UPDATE builder SET holder = NULL, lease_until = NULL WHERE holder = %s", [build_id])
