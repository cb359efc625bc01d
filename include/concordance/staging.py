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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from concordance import ids
from concordance.errors import Corrupt, Unavailable


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
        name = f"{kind}/{ids.digest(inputs)}.json"
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
        return artefact

    def put(self, kind: str, inputs: Any, content: bytes, *, rows: int, suffix: str) -> Artefact:
        """Store `content` as the artefact of these inputs. If another attempt was first, its artefact is returned."""
        digest = ids.bytes_digest(content)
        artefact = Artefact(kind, f"{kind}/{digest}{suffix}", digest, rows, len(content))
        if not self._create(artefact.path, content) and self._read(artefact.path) != content:
            # What stands there is torn or altered: its name says what it must be.
            self._replace(artefact.path, content)
        reference = {"artefact": artefact.as_json(), "digest": ids.digest(artefact.as_json())}
        if self._create(f"{kind}/{ids.digest(inputs)}.json", json.dumps(reference).encode()):
            return artefact
        first = self.find(kind, inputs)
        assert first is not None
        return first

    def read(self, artefact: Artefact) -> bytes:
        """The artefact's content. Raises `Corrupt` when it is missing or not what its digest says."""
        content = self._read(artefact.path)
        if content is None:
            raise Corrupt(f"The artefact {artefact.path} is not in the staging area: start a new run")
        if ids.bytes_digest(content) != artefact.digest:
            raise Corrupt(f"The artefact {artefact.path} was altered since it was written: start a new run")
        return content

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
            # Object stores create an object in one request; `create` asks them to refuse an existing one.
            self._files.pipe_file(path, content, mode="create")
        except FileExistsError:
            return False
        except OSError as error:
            raise self._unavailable(error) from None
        return True

    def _replace(self, name: str, content: bytes) -> None:
        try:
            self._files.rm_file(f"{self._root}/{name}")
        except FileNotFoundError:
            pass
        except OSError as error:
            raise self._unavailable(error) from None
        self._create(name, content)

    def _unavailable(self, error: OSError) -> Unavailable:
        return Unavailable(
            f"The staging area {self._root} cannot be used: {error.strerror or type(error).__name__}. Free space "
            "there, or move it by AIRFLOW__CONCORDANCE__STAGING_URL"
        )


def _create_local(path: Path, content: bytes) -> bool:
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
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
