"""What the tests of erase share: asking for one in a simulated world, and looking everywhere for what must be gone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from concordance import ids
from concordance.consistency import erase as consistency
from concordance.consistency.erase import EraseRequest
from concordance.errors import Unavailable
from concordance.ledger.erasing import Erasure
from concordance.ledger.erasure_scope import Scope
from concordance.pipeline import tables
from simulation.world import SOURCE, World
from support.ledgers import connect

SECRET = "wolframite"
KINDS = ("plan", "documents", "chunks", "vectors", "evidence", "gate")


@dataclass(frozen=True)
class Down:
    """A store that does not answer."""

    name: str

    def __getattr__(self, method: str) -> Any:
        def refuse(*_: Any, **__: Any) -> Any:
            raise Unavailable(f"the {self.name} does not answer")

        return refuse


@dataclass(frozen=True)
class Recorded:
    """A store whose writes of rows can be sent again later, as a writer that was held up would."""

    store: Any
    late: list[Callable[[], Any]] = field(default_factory=list)

    def __getattr__(self, method: str) -> Any:
        found = getattr(self.store, method)

        def call(*args: Any, **kwargs: Any) -> Any:
            if method in ("write", "upsert"):
                self.late.append(lambda: found(*args, **kwargs))
            return found(*args, **kwargs)

        return call


def document(uri: str, *, tenant: str = "acme") -> UUID:
    return ids.document_id(tenant=tenant, source=SOURCE, uri=uri)


def request(uri: str | None = None, **scope: str) -> EraseRequest:
    given = {"source": SOURCE, "uri": uri} if uri is not None else scope
    return EraseRequest(uuid4(), Scope(**given), requested_by="ann", reason="asked to")


def erase(world: World, asked: EraseRequest) -> Erasure:
    return consistency.erase(asked, adapters=world.adapters, settings=world.settings)


def finish(world: World, erasure_id: UUID) -> Erasure:
    return consistency.finish(erasure_id, adapters=world.adapters, settings=world.settings)


def wait_for_the_grace(world: World) -> None:
    world.wait(world.settings.lease_seconds + world.settings.sweep_grace_seconds + 1)


def held(world: World, *documents: UUID, words: tuple[str, ...] = (SECRET,)) -> list[str]:
    """Every place that still holds one of the documents, or one of the words."""
    found = []
    for version in world.ledger.erasing.kept_versions():
        for name, store in (("graph", world.graph), ("vectors", world.vectors)):
            if store.generations_of(version, documents):
                found.append(f"{name} of version {version.version}")
    for kind in KINDS:
        found += [name for name, content in world.adapters.staging.contents(kind) if _says(kind, content, words)]
        for name, content in world.adapters.staging.contents(kind):
            if kind in ("plan", "documents", "chunks", "evidence") and set(map(str, documents)) & _named(content):
                found.append(name)
    with connect(world.settings) as connection:
        for table in ("quarantine", "generations", "runs", "plans", "documents"):
            stored = str(connection.execute(f"SELECT row_to_json(t)::text FROM {table} t").fetchall())  # noqa: S608 - constants
            found += [table for word in words if word in stored]
    return found


def shown(world: World) -> set[str]:
    """The uris that readers see."""
    with world.ledger.snapshot() as snapshot:
        version = snapshot.live()
        chunks = list(snapshot.committed(version))
        return {row.uri for row in snapshot.documents(version, {chunk.document_id for chunk in chunks}).values()}


def is_sound(world: World) -> bool:
    """Once all is settled and swept: the same chunks in the three, nothing that hangs on nothing, nothing in flight."""
    world.clean_up()
    version = world.live()
    with world.ledger.snapshot() as snapshot:
        committed = list(snapshot.committed(version))
        assert snapshot.in_flight(version) == set()
    assert list(world.graph.chunks(version)) == committed
    assert list(world.vectors.points(version)) == committed
    assert set(world.graph.orphans(version).values()) == {0}
    return True


def _named(content: bytes) -> set[str]:
    return set(tables.from_parquet(content, columns=["document_id"]).column(0).to_pylist())


def _says(kind: str, content: bytes, words: tuple[str, ...]) -> bool:
    said: Any = content.decode() if kind == "gate" else str(tables.from_parquet(content).to_pylist())
    return any(word in said for word in words)
