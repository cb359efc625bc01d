"""What index versions there are, and what differs between two of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from concordance.errors import Conflict, Misconfigured
from concordance.model import IndexVersion
from concordance.pipeline.adapters import Adapters

_DROPPED = ("dropping", "dropped")


@dataclass(frozen=True, slots=True)
class ListedVersion:
    """A version with its counts; `behind` documents are not what the live version holds, None where nobody may ask."""

    version: IndexVersion
    documents: int
    chunks: int
    quarantined: int
    behind: int | None

    def as_json(self) -> dict[str, Any]:
        return {
            "version": self.version.version,
            "state": self.version.state,
            "model": self.version.settings.model.name,
            "settings": self.version.settings.as_json(),
            "documents": self.documents,
            "chunks": self.chunks,
            "quarantined": self.quarantined,
            "behind": self.behind,
        }


def list_versions(*, adapters: Adapters) -> list[ListedVersion]:
    """Every version that there is or was, the oldest first."""
    live = adapters.ledger.versions.live()
    listed = []
    for version in adapters.ledger.versions.all():
        with adapters.ledger.snapshot() as snapshot:
            counts = snapshot.counts(version)
        behind = None
        if live is not None and version.state not in _DROPPED:
            behind = adapters.ledger.building.lag(live, version).documents
        listed.append(ListedVersion(version, counts["documents"], counts["chunks"], counts["quarantined"], behind))
    return listed


_ALLOWED = {
    "publish": ("building", "ready"),
    "rollback": ("retired",),
    # Asked for again after the grace, it is carried out.
    "drop": ("building", "ready", "retired", "dropping"),
}


def require_possible(action: str, number: int, *, adapters: Adapters) -> tuple[ListedVersion, ListedVersion]:
    """The live version and the one that is meant. Raises `Conflict` when it is in no state for this action,
    `Misconfigured` when there is none."""
    version = adapters.ledger.versions.get(number)
    if version.state not in _ALLOWED[action]:
        raise Conflict(
            f"Index version {number} is {version.state}: {action} is for one that is {' or '.join(_ALLOWED[action])}"
        )
    listed = {each.version.version: each for each in list_versions(adapters=adapters)}
    live = next((each for each in listed.values() if each.version.state == "live"), None)
    if live is None:
        raise Misconfigured("There is no live index yet: the first ingest makes one")
    return live, listed[number]


@dataclass(frozen=True, slots=True)
class VersionDiff:
    """What is frozen otherwise in the two versions, and documents by source: only in the first, only in the second, and
    in another state in both; each at most `limit` uris."""

    settings: dict[str, tuple[Any, Any]]
    only_in_first: dict[str, list[str]]
    only_in_second: dict[str, list[str]]
    changed: dict[str, list[str]]
    documents: int

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "settings": {name: list(pair) for name, pair in self.settings.items()}}


def diff(first: IndexVersion, second: IndexVersion, *, adapters: Adapters, limit: int) -> VersionDiff:
    """Compare two versions in the ledger."""
    here, there = first.settings.as_json(), second.settings.as_json()
    found: dict[str, dict[str, list[str]]] = {"first": {}, "second": {}, "changed": {}}
    documents = 0
    for source in adapters.ledger.building.sources([first, second]):
        for each in adapters.ledger.building.differences(first, second, source):
            documents += 1
            where = "first" if each.in_other is None else "second" if each.in_live is None else "changed"
            named = found[where].setdefault(source, [])
            if len(named) < limit:
                named.append(each.uri)
    return VersionDiff(
        settings={name: (here[name], there[name]) for name in here if here[name] != there.get(name)},
        only_in_first=found["first"],
        only_in_second=found["second"],
        changed=found["changed"],
        documents=documents,
    )
