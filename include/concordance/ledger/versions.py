"""Index versions: which one is live, what is frozen with each, and the only allowed steps of their state."""

from __future__ import annotations

import json
from typing import Any

from concordance.errors import Conflict, Misconfigured
from concordance.ledger.database import Cursor, Database
from concordance.model import IndexSettings, IndexVersion

ALLOWED_STEPS = frozenset(
    {
        ("building", "ready"),
        ("ready", "live"),
        ("live", "retired"),
        ("retired", "live"),
        ("retired", "dropping"),
        ("building", "dropping"),
        ("ready", "dropping"),
        ("dropping", "dropped"),
    }
)
_COLUMNS = "v.version, v.state, v.settings, c.epoch"


class Versions:
    def __init__(self, database: Database) -> None:
        self._database = database

    def live(self) -> IndexVersion | None:
        """The live version with the present publish epoch; None before the first one."""
        return self._database.transact("read the live index version", lambda cursor: _one(cursor, "live"))

    def building(self) -> IndexVersion | None:
        """The newest version that is still being built, if any."""
        return self._database.transact("read the building index version", lambda cursor: _one(cursor, "building"))

    def unfinished(self) -> list[IndexVersion]:
        """Versions that are built or ready, the oldest first."""
        return [version for version in self.all() if version.state in ("building", "ready")]

    def get(self, version: int) -> IndexVersion:
        """Raises `Misconfigured` when there is no such version."""
        return self._database.transact("read an index version", lambda cursor: get(cursor, version))

    def all(self) -> list[IndexVersion]:
        """Every version that there is or was, the oldest first."""

        def read(cursor: Cursor) -> list[IndexVersion]:
            cursor.execute(f"SELECT {_COLUMNS} FROM index_versions v, control c ORDER BY v.version")  # noqa: S608
            return [version_from(row) for row in cursor]

        return self._database.transact("read the index versions", read)

    def ready(self, version: IndexVersion) -> IndexVersion:
        """building -> ready: it has passed its gates. A repeated call changes nothing."""

        def work(cursor: Cursor) -> IndexVersion:
            cursor.execute("SELECT epoch FROM control FOR SHARE")
            if get(cursor, version.version).state != "ready":
                step(cursor, version.version, "building", "ready")
            return get(cursor, version.version)

        return self._database.transact("make an index version ready", work)

    def frozen(self, version: IndexVersion) -> Any:
        """What is frozen with the version beside its settings (names, boilerplate), as it was handed to `create`."""

        def read(cursor: Cursor) -> Any:
            cursor.execute("SELECT frozen FROM index_versions WHERE version = %s", [version.version])
            row = cursor.fetchone()
            if row is None:
                raise Conflict(f"Index version {version.version} is not in the ledger")
            return row[0]

        return self._database.transact("read what is frozen with a version", read)

    def create(self, settings: IndexSettings, frozen: Any, *, is_first: bool = False) -> IndexVersion:
        """A new version in state building. A second caller with one building already gets that one; the first version
        of all is not made when another attempt has made one live meanwhile: the caller gets that."""

        def insert(cursor: Cursor) -> IndexVersion:
            # The one row of `control` serialises builders: one build at a time.
            cursor.execute("SELECT epoch FROM control FOR UPDATE")
            present = _one(cursor, "building") or (_one(cursor, "live") if is_first else None)
            if present is not None:
                return present
            cursor.execute(
                "INSERT INTO index_versions (version, state, settings, settings_digest, frozen) "
                "SELECT coalesce(max(version), 0) + 1, 'building', %s, %s, %s FROM index_versions",
                [json.dumps(settings.as_json()), settings.digest, json.dumps(frozen)],
            )
            created = _one(cursor, "building")
            assert created is not None
            return created

        return self._database.transact("create an index version", insert)

    def make_first_live(self, version: IndexVersion) -> IndexVersion:
        """building -> ready -> live for the first version, which has nothing to be compared with. Raises the epoch.

        Raises `Conflict` when another version is live already.
        """

        def flip(cursor: Cursor) -> IndexVersion:
            cursor.execute("SELECT epoch FROM control FOR UPDATE")
            live = _one(cursor, "live")
            if live is not None:
                if live.version == version.version:
                    return live
                raise Conflict(
                    f"Index version {live.version} is live already: a re-index swaps versions, an ingest does not"
                )
            step(cursor, version.version, "building", "ready")
            step(cursor, version.version, "ready", "live")
            cursor.execute("UPDATE control SET epoch = epoch + 1")
            made = _one(cursor, "live")
            assert made is not None
            return made

        return self._database.transact("make the first index version live", flip)


def step(cursor: Cursor, version: int, before: str, after: str) -> None:
    """Compare-and-set of a version's state. Raises `Conflict` when it is not in the state `before`."""
    assert (before, after) in ALLOWED_STEPS, f"{before} -> {after} is not a step of an index version"
    cursor.execute(
        "UPDATE index_versions SET state = %s, state_at = now() WHERE version = %s AND state = %s",
        [after, version, before],
    )
    if cursor.rowcount != 1:
        raise Conflict(f"Index version {version} is no longer {before}: somebody else moved it on")


def get(cursor: Cursor, version: int) -> IndexVersion:
    """The version with its state now. Raises `Misconfigured` when there is none."""
    cursor.execute(f"SELECT {_COLUMNS} FROM index_versions v, control c WHERE v.version = %s", [version])  # noqa: S608 - constants
    row = cursor.fetchone()
    if row is None:
        raise Misconfigured(
            f"There is no index version {version}: `python -m concordance index list` shows those that there are"
        )
    return version_from(row)


def live_of(cursor: Cursor) -> IndexVersion | None:
    return _one(cursor, "live")


def _one(cursor: Cursor, state: str) -> IndexVersion | None:
    cursor.execute(
        f"SELECT {_COLUMNS} FROM index_versions v, control c WHERE v.state = %s ORDER BY v.version DESC LIMIT 1",  # noqa: S608 - a constant
        [state],
    )
    row = cursor.fetchone()
    return None if row is None else version_from(row)


def version_from(row: tuple[Any, ...]) -> IndexVersion:
    version, state, settings, epoch = row
    return IndexVersion(version=version, state=state, settings=IndexSettings.from_json(settings), epoch=epoch)
