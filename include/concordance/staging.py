"""Artefacts: immutable staged files that one stage hands to the next, on any fsspec file system.

An artefact is named by the digest of its inputs and referred to by the digest of its content. The content is stored
first, under its own digest; then a small reference file is created if it is absent, and that decides: of two attempts
that worked at once, both go on with the one that came first. Every read checks the digest, so a torn or altered file is
`Corrupt` before anything of it reaches a store.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from concordance import fault_points, ids
from concordance.errors import Corrupt, Unavailable

_UNFINISHED = ".writing-"
KINDS = ("plan", "documents", "chunks", "rejections", "vectors", "evidence", "gate")


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A file of the staging area; `age_seconds` since it was last put, by this machine's clock."""

    name: str
    size_bytes: int
    age_seconds: float


@dataclass(frozen=True, slots=True)
class Artefact:
    """A reference: small enough for XCom. `path` is relative to the staging area; `rows` is for people."""

    kind: str
    path: str
    digest: str
    rows: int
    size_bytes: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Artefact:
        return cls(**stored)


class Staging:
    """The staging area at an fsspec URL such as `file:///var/lib/concordance/staging` or `s3://bucket/staging`."""

    def __init__(self, url: str) -> None:
        import fsspec

        self._files, self._root = fsspec.core.url_to_fs(url)
        protocols = self._files.protocol if isinstance(self._files.protocol, tuple) else (self._files.protocol,)
        self._is_local = "file" in protocols

    def find(self, kind: str, inputs: Any) -> Artefact | None:
        """The artefact that was made of these inputs, if there is one. Raises `Corrupt` for a damaged reference."""
        name = reference_name(kind, inputs)
        stored = self._read(name)
        if stored is None:
            return None
        try:
            reference = json.loads(stored)
            artefact = Artefact.from_json(reference["artefact"])
            if ids.digest(artefact.as_json()) != reference["digest"]:
                raise ValueError
        except (ValueError, KeyError, TypeError):
            raise Corrupt(f"The reference {name} in the staging area is damaged: delete it and try again") from None
        # One that leads nowhere says only that there was something: its content is made again, and stands there then.
        return artefact if self.holds(artefact) else None

    def put(self, kind: str, inputs: Any, content: bytes, *, rows: int, suffix: str) -> Artefact:
        """Store `content` as the artefact of these inputs. If another attempt was first, its artefact is returned."""
        digest = ids.bytes_digest(content)
        artefact = Artefact(kind, f"{kind}/{digest}{suffix}", digest, rows, len(content))
        reference = {"artefact": artefact.as_json(), "digest": ids.digest(artefact.as_json())}
        with fault_points.around("artefact.put"):
            self._store(artefact.path, content)
        name, written = reference_name(kind, inputs), json.dumps(reference).encode()
        with fault_points.around("reference.put"):
            is_first = self._create(name, written)
            # The content may have expired in between: whoever removes what is old did not see the reference yet.
            self._create(artefact.path, content)
        first = artefact if is_first else self.find(kind, inputs)
        if first is None:
            # What stands there leads to a content that is gone, and that was another one than this.
            self._remove(name)
            self._create(name, written)
            first = self.find(kind, inputs)
        if first is None:
            raise Unavailable(f"An artefact of kind {kind} was removed while it was staged: try again, it is made anew")
        return first

    def holds(self, artefact: Artefact) -> bool:
        """Whether the artefact's content is there, whatever it is by now. Raises `Unavailable`."""
        try:
            return bool(self._files.exists(f"{self._root}/{artefact.path}"))
        except OSError as error:
            raise self._unavailable(error) from None

    def read(self, artefact: Artefact) -> bytes:
        """The artefact's content. Raises `Corrupt` when it is missing or not what its digest says."""
        content = self._read(artefact.path)
        if content is None:
            raise Corrupt(
                f"The artefact {artefact.path} is not in the staging area (an erase removes those that hold an erased "
                "document, maintenance those whose time is over): start a new run"
            )
        if ids.bytes_digest(content) != artefact.digest:
            raise Corrupt(f"The artefact {artefact.path} was altered since it was written: start a new run")
        return content

    def contents(self, kind: str) -> Iterator[tuple[str, bytes]]:
        """Name and content of every staged file of this kind but the references: also what no reference leads to."""
        for name in self._names(kind):
            content = None if _is_unfinished(name) else self._read(name)
            if content is not None and _referred_to(name, content) is None:
                yield name, content

    def unreferred(self, *, older_than_seconds: float) -> list[str]:
        """Staged files that no reference leads to, and so no stage can find: a writer died between the two.

        Younger ones may belong to a writer that is still at work.
        """
        found: list[str] = []
        for kind in KINDS:
            names = self._names(kind)
            references = {name: self._read(name) for name in names if name.endswith(".json")}
            led_to = {_referred_to(name, content) for name, content in references.items() if content is not None}
            contents = [
                name for name in names if name not in led_to and _referred_to(name, references.get(name) or b"") is None
            ]
            found += [name for name in contents if self._age_seconds(name) >= older_than_seconds]
        return found

    def files(self, kind: str) -> list[StagedFile]:
        """All files of this kind, references and what is half written too; by name."""
        return [
            StagedFile(name, int(said.get("size") or 0), self._age_seconds(name, _written(said)))
            for name, said in sorted(self._listed(kind).items())
        ]

    def leads_to(self, name: str) -> str | None:
        """The name of the content that this file refers to; None when it is no reference, or is gone."""
        content = self._read(name) if name.endswith(".json") else None
        return None if content is None else _referred_to(name, content)

    def remove_older(self, name: str, *, older_than_seconds: float) -> bool:
        """Remove a file unless it was put again meanwhile; whether it was there to be removed."""
        return self._age_seconds(name) >= older_than_seconds and self._remove(name)

    def _age_seconds(self, name: str, written: datetime | None = None) -> float:
        """Seconds since the file was last put, by this machine's clock; 0 when it is gone. `written`: a listing said
        so."""
        try:
            written = written or self._files.modified(f"{self._root}/{name}")
        except FileNotFoundError:
            return 0.0
        except OSError as error:
            raise self._unavailable(error) from None
        moment = written if written.tzinfo else written.replace(tzinfo=UTC)
        return (datetime.now(UTC) - moment).total_seconds()

    def discard(self, names: Collection[str]) -> int:
        """Remove these files, and before each the references that lead to it; returns how many were there.

        Whoever holds a reference to one finds it gone (`Corrupt`); whoever looks for one by its inputs makes it anew.
        """
        for kind in sorted({name.partition("/")[0] for name in names}):
            for name in self._names(kind):
                content = self._read(name) if name.endswith(".json") else None
                if content is not None and _referred_to(name, content) in names:
                    self._remove(name)
        return sum(self._remove(name) for name in sorted(names))

    def discard_unfinished(self, kind: str, *, older_than_seconds: float) -> int:
        """Remove what writers that died have left half written, on a local file system; returns how many files."""
        if not self._is_local:
            return 0
        removed = 0
        for name in filter(_is_unfinished, self._names(kind)):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - Path(f"{self._root}/{name}").stat().st_mtime >= older_than_seconds:
                    removed += self._remove(name)
        return removed

    def _names(self, kind: str) -> list[str]:
        """The names of all files of this kind, as they are now."""
        return sorted(self._listed(kind))

    def _listed(self, kind: str) -> dict[str, dict[str, Any]]:
        """What a listing says of each file of this kind, by name: one request for many files."""
        try:
            found = self._files.ls(f"{self._root}/{kind}", detail=True, refresh=True)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._unavailable(error) from None
        return {f"{kind}/{said['name'].rstrip('/').rpartition('/')[2]}": said for said in found}

    def _remove(self, name: str) -> bool:
        try:
            self._files.rm_file(f"{self._root}/{name}")
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._unavailable(error) from None
        return True

    def _read(self, name: str) -> bytes | None:
        try:
            content: bytes = self._files.cat_file(f"{self._root}/{name}")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unavailable(error) from None
        return content

    def _create(self, name: str, content: bytes) -> bool:
        """Create the file, whole or not at all. False when it is there already, which is then left as it is."""
        path = f"{self._root}/{name}"
        try:
            if self._is_local:
                return _create_local(Path(path), content)
            if self._files.exists(path):
                return False
            # Object stores create an object in one request; `create` asks them to refuse an existing one.
            self._files.pipe_file(path, content, mode="create")
        except FileExistsError:
            return False
        except OSError as error:
            raise self._unavailable(error) from None
        return True

    def _store(self, name: str, content: bytes) -> None:
        """Let the file stand there with this content, and be as young as if it were new."""
        if self._create(name, content):
            return
        if self._read(name) != content:
            # What stands there is torn or altered: its name says what it must be.
            self._remove(name)
            self._create(name, content)
        else:
            self._renew(name, content)

    def _renew(self, name: str, content: bytes) -> None:
        path = f"{self._root}/{name}"
        try:
            if self._is_local:
                os.utime(path)
            else:
                # Object stores keep no other time than that of the last request that wrote the object, as a whole.
                self._files.pipe_file(path, content)
        except FileNotFoundError:
            self._create(name, content)
        except OSError as error:
            raise self._unavailable(error) from None

    def _unavailable(self, error: OSError) -> Unavailable:
        return Unavailable(
            f"The staging area {self._root} cannot be used: {error.strerror or type(error).__name__}. Free space "
            "there, or move it by AIRFLOW__CONCORDANCE__STAGING_URL"
        )


def _written(said: dict[str, Any]) -> datetime | None:
    """When the file was written, if the listing says so."""
    when = said.get("mtime") or said.get("LastModified") or said.get("last_modified")
    return (
        datetime.fromtimestamp(when, UTC)
        if isinstance(when, int | float)
        else when
        if isinstance(when, datetime)
        else None
    )


def reference_name(kind: str, inputs: Any) -> str:
    """Where the reference of the artefact that is made of these inputs stands."""
    return f"{kind}/{ids.digest(inputs)}.json"


def _is_unfinished(name: str) -> bool:
    return name.rpartition("/")[2].startswith(_UNFINISHED)


def _referred_to(name: str, content: bytes) -> str | None:
    """The name of the content that this file leads to; None when it is no reference."""
    if not name.endswith(".json"):
        return None
    try:
        path = json.loads(content)["artefact"]["path"]
    except (ValueError, KeyError, TypeError):
        return None
    return path if isinstance(path, str) else None


def _create_local(path: Path, content: bytes) -> bool:
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=_UNFINISHED)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # A link fails when the name is taken, a rename would overwrite it: the first attempt must win.
        os.link(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
    return True
