"""The swap: the one transaction that makes another index version the live one; and what takes a version away.

It takes the publish epoch exclusively, so that no publish and no other swap is under way, and every source, so that no
batch begins or is verified meanwhile. What it does to a version that was live before is what a reader must not notice:
documents that are gone, erased or of other access labels by now are hidden, what changed otherwise is marked as stale.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from concordance.errors import Conflict
from concordance.ledger.building import SAME, Lag, lag_of
from concordance.ledger.database import Cursor, Database
from concordance.ledger.plans import close_whole
from concordance.ledger.versions import get, live_of, step, version_from
from concordance.model import IndexVersion


@dataclass(frozen=True, slots=True)
class Swapped:
    """The live version and the one that was live before. `hidden` and `stale` documents: see the module's first words.
    With a `lag` nothing was swapped: the version is behind by so much."""

    live: IndexVersion
    before: IndexVersion | None = None
    hidden: int = 0
    stale: int = 0
    lag: Lag | None = None

    @property
    def is_behind(self) -> bool:
        return self.lag is not None


class Swapping:
    def __init__(self, database: Database, *, sweep_grace_seconds: float) -> None:
        self._database = database
        self._grace_seconds = sweep_grace_seconds

    def swap(self, version: IndexVersion, *, tolerated: int = 0, goes_back: bool = False) -> Swapped:
        """Make a ready version the live one, or a retired one if it `goes_back`; a repeated call changes nothing.

        A ready one must be the same as the live one, but for `tolerated` documents that are lost: if it is not, nothing
        changes, and the answer says by how much it is behind. Raises `Conflict` when the version is in another state.
        """

        def work(cursor: Cursor) -> Swapped:
            cursor.execute("SELECT epoch FROM control FOR UPDATE")
            now, live = get(cursor, version.version), live_of(cursor)
            if live is None:
                raise Conflict("There is no live index version to swap: the first ingest makes one")
            if now.state == "live":
                return Swapped(now)
            # A publish that is repeated after somebody went back must not undo that.
            if now.state != ("retired" if goes_back else "ready"):
                raise Conflict(
                    f"Index version {now.version} is {now.state}: one that is ready is published, to one that is "
                    "retired you roll back. `python -m concordance index list` shows them"
                )
            # Publishing, begin and verified hold these rows shared.
            cursor.execute("SELECT 1 FROM sources ORDER BY source FOR UPDATE")
            if now.state == "ready":
                lag = lag_of(cursor, live, now)
                if lag.documents > lag.lost or lag.lost > tolerated:
                    return Swapped(live, lag=lag)
            names = {"live": live.version, "other": now.version}
            hidden, stale = _hide(cursor, names), _mark_stale(cursor, names)
            if now.state == "ready":
                _take_quarantine(cursor, names)
            # Also what builds left unfinished in the version that goes live: their writers come too late.
            _close_plans(cursor, live, now)
            step(cursor, live.version, "live", "retired")
            step(cursor, now.version, now.state, "live")
            cursor.execute("UPDATE control SET epoch = epoch + 1, held_by = NULL, held_until = NULL")
            swapped = live_of(cursor)
            assert swapped is not None
            return Swapped(swapped, before=get(cursor, live.version), hidden=hidden, stale=stale)

        return self._database.transact("swap the live index version", work, is_bulk=True)

    def hold(self, holder: str, *, seconds: float) -> None:
        """Keep runs from publishing for so long, or until the swap. Publishes that are under way end first."""
        self._database.transact(
            "hold publishing",
            lambda cursor: cursor.execute(
                "UPDATE control SET held_by = %s, held_until = clock_timestamp() + make_interval(secs => %s)",
                [holder, seconds],
            ),
            is_bulk=True,
        )

    def let_go(self, holder: str) -> None:
        """Runs may publish again."""
        self._database.transact(
            "let publishing go on",
            lambda cursor: cursor.execute(
                "UPDATE control SET held_by = NULL, held_until = NULL WHERE held_by = %s", [holder]
            ),
        )

    # --- a version goes

    def retired(self) -> list[IndexVersion]:
        """The retired versions, in the order in which they ceased to be live."""

        def work(cursor: Cursor) -> list[IndexVersion]:
            cursor.execute(
                "SELECT v.version, v.state, v.settings, c.epoch FROM index_versions v, control c "
                "WHERE v.state = 'retired' ORDER BY v.state_at, v.version"
            )
            return [version_from(row) for row in cursor]

        return self._database.transact("read the retired index versions", work)

    def retire(self, version: IndexVersion) -> None:
        """Begin to drop a version: from here on nobody writes it, and after the grace it may be deleted. A repeated
        call changes nothing. Raises `Conflict` for the live one."""

        def work(cursor: Cursor) -> None:
            cursor.execute("SELECT epoch FROM control FOR UPDATE")
            now = get(cursor, version.version)
            if now.state in ("dropping", "dropped"):
                return
            if now.state == "live":
                raise Conflict(f"Index version {now.version} is live: publish another one, then drop this")
            cursor.execute("SELECT 1 FROM sources ORDER BY source FOR UPDATE")
            _close_plans(cursor, now)
            step(cursor, now.version, now.state, "dropping")

        self._database.transact("begin to drop an index version", work, is_bulk=True)

    def droppable_in(self, version: IndexVersion) -> float:
        """Seconds until nobody can read or write the version any more, by the ledger's clock; 0 when that is now."""

        def work(cursor: Cursor) -> float:
            cursor.execute(
                "SELECT extract(epoch FROM greatest(v.state_at, (SELECT max(g.writer_until) FROM generations g "
                "  WHERE g.index_version = v.version)) + make_interval(secs => %s) - clock_timestamp())::float8 "
                "FROM index_versions v WHERE v.version = %s",
                [self._grace_seconds, version.version],
            )
            (left,) = cursor.fetchone() or (0.0,)
            return max(0.0, float(left))

        return self._database.transact("read when a version may go", work, is_bulk=True)

    def forget(self, version: IndexVersion, *, limit: int) -> int:
        """Delete at most `limit` generations of a version that is being dropped, with their chunks and links, and its
        quarantine. Returns how many; 0 when there are none."""

        def work(cursor: Cursor) -> int:
            if get(cursor, version.version).state != "dropping":
                raise Conflict(f"Index version {version.version} is not being dropped")
            cursor.execute(
                "DELETE FROM generations WHERE (index_version, document_id, generation) IN (SELECT index_version, "
                "document_id, generation FROM generations WHERE index_version = %s LIMIT %s)",
                [version.version, limit],
            )
            deleted = cursor.rowcount
            if not deleted:
                cursor.execute("DELETE FROM quarantine WHERE index_version = %s", [version.version])
            return deleted

        return self._database.transact("forget an index version", work, is_bulk=True)

    def dropped(self, version: IndexVersion) -> None:
        """dropping -> dropped; a repeated call changes nothing."""

        def work(cursor: Cursor) -> None:
            if get(cursor, version.version).state != "dropped":
                step(cursor, version.version, "dropping", "dropped")

        self._database.transact("end the drop of an index version", work)


def _hide(cursor: Cursor, names: dict[str, int]) -> int:
    cursor.execute(
        "UPDATE generations f SET state = 'replaced', dirty = true, ended_at = clock_timestamp() "
        "WHERE f.index_version = %(other)s AND f.state = 'current' AND ("
        "  NOT EXISTS (SELECT 1 FROM generations l WHERE l.index_version = %(live)s AND l.state = 'current' "
        "    AND l.document_id = f.document_id AND l.access = f.access) "
        "  OR EXISTS (SELECT 1 FROM tombstones t WHERE t.document_id = f.document_id AND t.kind = 'erased'))",
        names,
    )
    return cursor.rowcount


def _mark_stale(cursor: Cursor, names: dict[str, int]) -> int:
    cursor.execute(
        "UPDATE generations f SET is_stale = true FROM generations l WHERE f.index_version = %(other)s "  # noqa: S608
        "AND f.state = 'current' AND NOT f.is_stale AND l.index_version = %(live)s AND l.state = 'current' "
        f"AND l.document_id = f.document_id AND NOT ({SAME})",
        names,
    )
    return cursor.rowcount


def _take_quarantine(cursor: Cursor, names: dict[str, int]) -> None:
    """What waits in quarantine goes on waiting: a version that was built beside has seen nothing of it."""
    cursor.execute(
        "INSERT INTO quarantine (index_version, document_id, plan_id, stage, reason, detail, stamp, rejected_under, "
        "  attempts, first_at, last_at, artefact, dismissed_at, dismissed_by, note) "
        "SELECT %(other)s, document_id, plan_id, stage, reason, detail, stamp, rejected_under, "
        "  attempts, first_at, last_at, artefact, dismissed_at, dismissed_by, note "
        "FROM quarantine WHERE index_version = %(live)s ON CONFLICT (index_version, document_id) DO NOTHING",
        names,
    )


def _close_plans(cursor: Cursor, *versions: IndexVersion) -> None:
    cursor.execute(
        "SELECT plan_id FROM plans WHERE index_version = ANY(%s) AND state IN ('drawn', 'made') "
        "ORDER BY plan_id FOR UPDATE",
        [[version.version for version in versions]],
    )
    plans: list[UUID] = [row[0] for row in cursor.fetchall()]
    close_whole(cursor, plans)
