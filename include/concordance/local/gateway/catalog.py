"""The catalogue: which collections and aliases there are, and in which folder each collection's shard lies.

`catalog.json` in the data folder is the only truth about that and is replaced as a whole (write, sync, rename, sync):
after a kill either the old or the new state is there. Folders that it does not name are rubbish of an interrupted
creation, deletion or optimisation and are removed at the start.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TextIO
from uuid import uuid4

import msgspec
from qdrant_edge import EdgeShard

from concordance.errors import Corrupt, Misconfigured
from concordance.local.gateway import schema
from concordance.local.gateway.collection import Collection
from concordance.local.gateway.limits import MAX_ALIASES, MAX_COLLECTIONS, MAX_NAME_CHARACTERS
from concordance.local.gateway.refusals import Refused, invalid, no_collection, of_engine, wrong_input
from concordance.local.gateway.wire import Body, Json

_FORBIDDEN = frozenset('<>:"/\\|?*\0\x1f')


@dataclass(frozen=True, slots=True)
class Entry:
    """One collection: its shard's folder, the body of its creation, the schemas of its payload indexes as given, and
    whether its HNSW was built with other parameters than the body names."""

    folder: str
    create: Body
    indexes: Mapping[str, Json] = field(default_factory=dict)
    is_outdated: bool = False


@dataclass(frozen=True, slots=True)
class State:
    collections: Mapping[str, Entry] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AliasChange:
    """One step of an alias update: `alias` names `collection`, or nothing when that is None."""

    alias: str
    collection: str | None


class Catalog:
    """The open collections of a data folder, which this process owns until `close`."""

    def __init__(self, data: Path) -> None:
        """Raises `Misconfigured` where the folder is in use or not writable, `Corrupt` where it cannot be read."""
        self._shards = data / "shards"
        self._file = data / "catalog.json"
        self._changing = threading.Lock()
        try:
            data.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._shards.mkdir(exist_ok=True)
            self._lock = _own(data)
        except OSError as error:
            raise Misconfigured(f"the data folder {data} cannot be used: {error.strerror}") from None
        self._state = self._stored()
        self._remove_strangers()
        self._open = {name: self._load(name, entry) for name, entry in self._state.collections.items()}

    # --- reading --------------------------------------------------------------------------------------------------

    def collection(self, name: str) -> Collection:
        """The collection of this name or alias. Raises `Refused` (404)."""
        found = self._open.get(self._state.aliases.get(name, name))
        if found is None:
            raise no_collection(name)
        return found

    def entry(self, name: str) -> Entry:
        """What the catalogue says of this name or alias. Raises `Refused` (404)."""
        found = self._state.collections.get(self._state.aliases.get(name, name))
        if found is None:
            raise no_collection(name)
        return found

    def exists(self, name: str) -> bool:
        return self._state.aliases.get(name, name) in self._open

    def names(self) -> list[str]:
        return sorted(self._open)

    def aliases(self, collection: str | None = None) -> list[AliasChange]:
        found = self._state.aliases.items()
        return [AliasChange(alias, name) for alias, name in sorted(found) if collection in (None, name)]

    def open_collections(self) -> list[tuple[str, Collection]]:
        return list(self._open.items())

    # --- changing -------------------------------------------------------------------------------------------------

    def create(self, name: str, body: Json) -> None:
        """A new, empty collection. Raises `Refused`: 409 where the name is taken."""
        _check_name(name)
        read = schema.schema_of(body)
        if not read.dense and not read.sparse:
            raise invalid("a collection needs at least one vector")
        config = of_engine(lambda: schema.engine_config(body))
        with self._changing:
            if name in self._open:
                raise Refused(409, f"Wrong input: Collection `{name}` already exists!")
            if name in self._state.aliases:
                raise wrong_input(f"Can't create collection with name {name}. Alias with the same name already exists")
            if len(self._open) >= MAX_COLLECTIONS:
                raise wrong_input(f"there are {MAX_COLLECTIONS} collections already: delete one first")
            entry = Entry(folder=f"{uuid4()}.0", create=body)
            folder = self._shards / entry.folder
            folder.mkdir()
            try:
                shard = of_engine(lambda: EdgeShard.create(str(folder), config))
                self._store(replace(self._state, collections={**self._state.collections, name: entry}))
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            self._open = {**self._open, name: Collection(shard, folder=folder, schema=read)}

    def update(self, name: str, body: Json) -> None:
        """Other optimiser or HNSW parameters: what they ask for is done in the background."""
        with self._changing:
            entry = self.entry(name)
            create = of_engine(lambda: schema.updated(entry.create, body))
            is_outdated = entry.is_outdated or schema.needs_another_index(entry.create, create)
            self._put(name, replace(entry, create=create, is_outdated=is_outdated))
            self.collection(name).adopt(schema.schema_of(create), is_outdated=is_outdated)

    def delete(self, name: str) -> bool:
        """Remove the collection, its aliases and its data; whether it was there. An alias is no name here."""
        with self._changing:
            if name not in self._open:
                return False
            collection = self._open[name]
            self._store(
                State(
                    {each: entry for each, entry in self._state.collections.items() if each != name},
                    {alias: target for alias, target in self._state.aliases.items() if target != name},
                )
            )
            self._open = {each: opened for each, opened in self._open.items() if each != name}
        collection.close()
        shutil.rmtree(collection.folder, ignore_errors=True)
        return True

    def change_aliases(self, plan: Sequence[tuple[str, str, str]]) -> None:
        """All steps (`create`, alias, collection), (`delete`, alias, ``) and (`rename`, old, new), or none."""
        with self._changing:
            aliases = dict(self._state.aliases)
            for action, alias, target in plan:
                if action == "create":
                    _check_name(alias)
                    if target not in self._open:
                        raise no_collection(target)
                    if alias in self._open:
                        raise wrong_input(f"Collection with the same name `{alias}` already exists")
                    aliases[alias] = target
                elif action == "delete":
                    aliases.pop(alias, None)
                else:
                    _check_name(target)
                    if alias not in aliases:
                        raise Refused(404, f"Not found: Alias {alias} does not exists!")
                    if target in self._open:
                        raise wrong_input(f"Collection with the same name `{target}` already exists")
                    aliases[target] = aliases.pop(alias)
            if len(aliases) > MAX_ALIASES:
                raise wrong_input(f"there are {MAX_ALIASES} aliases already: delete one first")
            self._store(replace(self._state, aliases=aliases))

    def note_index(self, name: str, field_name: str, given: Json) -> None:
        """Keep the schema of a payload index as given (None: the index is gone)."""
        with self._changing:
            entry = self.entry(name)
            indexes = {**entry.indexes, field_name: given}
            if given is None:
                del indexes[field_name]
            self._put(name, replace(entry, indexes=indexes))

    def note_built(self, name: str, collection: Collection, folder: Path, create: Body) -> bool:
        """The collection's data is in `folder` from now on, optimised by the parameters of `create`; False where the
        collection is gone meanwhile."""
        with self._changing:
            if self._open.get(name) is not collection:
                return False
            entry = self._state.collections[name]
            is_outdated = entry.is_outdated and schema.needs_another_index(create, entry.create)
            self._put(name, replace(entry, folder=folder.name, is_outdated=is_outdated))
            collection.is_outdated = is_outdated
            return True

    def close(self) -> None:
        """Flush and close every collection and give the data folder up."""
        for _, collection in self.open_collections():
            collection.close()
        self._lock.close()

    # --- the file -------------------------------------------------------------------------------------------------

    def _put(self, name: str, entry: Entry) -> None:
        own_name = self._state.aliases.get(name, name)
        self._store(replace(self._state, collections={**self._state.collections, own_name: entry}))

    def _store(self, state: State) -> None:
        fresh = self._file.with_suffix(".new")
        with fresh.open("wb") as stream:
            stream.write(msgspec.json.encode(asdict(state)))
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(self._file)
        folder = os.open(self._file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._state = state

    def _stored(self) -> State:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=State)
        except FileNotFoundError:
            return State()
        except (OSError, msgspec.MsgspecError) as error:
            raise Corrupt(
                f"{self._file} cannot be read ({type(error).__name__}): restore it, or empty the data folder and load "
                "the documents again"
            ) from None

    def _remove_strangers(self) -> None:
        known = {entry.folder for entry in self._state.collections.values()}
        for folder in self._shards.iterdir():
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)

    def _load(self, name: str, entry: Entry) -> Collection:
        folder = self._shards / entry.folder
        try:
            shard = EdgeShard.load(str(folder))
        except Exception as error:
            raise Corrupt(
                f"collection {name!r} in {folder} cannot be opened ({error}): restore the folder, or empty the data "
                "folder and load the documents again"
            ) from None
        read = schema.schema_of(entry.create)
        return Collection(shard, folder=folder, schema=read, is_outdated=entry.is_outdated)


def _own(data: Path) -> TextIO:
    """The lock of the data folder. It ends with the process, however that ends."""
    stream = (data / "lock").open("a+")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.seek(0)
        owner = stream.read().strip() or "unknown"
        stream.close()
        raise Misconfigured(
            f"the data folder {data} belongs to a gateway that runs already (process {owner}): stop that one, or give "
            "another --data"
        ) from None
    stream.truncate(0)
    stream.write(str(os.getpid()))
    stream.flush()
    return stream


def _check_name(name: str) -> None:
    if not 0 < len(name) <= MAX_NAME_CHARACTERS or not _FORBIDDEN.isdisjoint(name):
        raise invalid(f'name: 1 to {MAX_NAME_CHARACTERS} characters, none of <>:"/\\|?*')
