"""The kind `files`: a folder and a glob, on this machine or on any fsspec file system.

The location is a path (relative ones start at the repository's root) or an fsspec URL. Uris are the posix paths
relative to it, in NFC. Hidden files and folders (a leading dot) are not documents unless the option `hidden` says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from concordance.errors import Misconfigured, PoisonDocument
from concordance.model import Entity, Listed, RawDocument, Reason
from concordance.settings import ROOT, Settings
from concordance.sources.declaration import SourceDeclaration, check_options
from concordance.sources.local_tree import LocalTree
from concordance.sources.remote_tree import RemoteTree
from concordance.sources.subpath import normalise_subpath

_LOCAL_PROTOCOLS = ("file://", "local://")
_SECRET = re.compile(r"secret|password|token|credential|(^|_)key$|access_key", re.IGNORECASE)


class FilesOptions(BaseModel):
    """`hidden`: names with a leading dot count too. `storage`: arguments of the fsspec file system, no secrets."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    hidden: bool = False
    storage: Mapping[str, str | int | float | bool] = Field(default_factory=dict, max_length=50)

    @field_validator("storage")
    @classmethod
    def _no_secrets(cls, storage: Mapping[str, Any]) -> Mapping[str, Any]:
        if found := sorted(key for key in storage if _SECRET.search(key)):
            raise ValueError(
                f"{found[0]} looks like a secret, which does not belong in this file: give it by the environment or "
                "the configuration file of the file system's own client"
            )
        return storage


class FilesSource:
    """Documents are the regular files below a folder whose uri matches one of the globs."""

    Options: ClassVar[type[BaseModel]] = FilesOptions
    path_uris: ClassVar[bool] = True

    def __init__(self, declaration: SourceDeclaration, settings: Settings) -> None:
        self.declaration = declaration
        self._max_documents = declaration.max_documents(settings)
        self._max_bytes = declaration.max_document_bytes(settings)
        self._options: FilesOptions = check_options(declaration, where=f"source {declaration.name}")
        self._glob = _compiled(declaration.glob)
        self._tree = self._open_tree()

    def list(self, subpath: str = "") -> Iterator[Listed]:
        """Every document below `subpath`. Raises `Unavailable` or `Misconfigured`; see the port."""
        for count, listed in enumerate(self._tree.walk(normalise_subpath(subpath)), start=1):
            if count > self._max_documents:
                raise Misconfigured(
                    f"source {self.declaration.name} has more than {self._max_documents} documents: narrow its glob, "
                    "or raise max_documents of the source or max_documents_per_source"
                )
            yield listed

    def read(self, uri: str) -> RawDocument:
        """The file's bytes. Raises `PoisonDocument` (`unreadable`, `empty`, `too_large`) or `Unavailable`."""
        self._check_is_of_source(uri)
        content, stamp = self._tree.read(uri, limit=self._max_bytes)
        return RawDocument(uri=uri, content=content, stamp=stamp)

    def names(self) -> Iterator[Entity]:
        """Only the declared names: a file declares none."""
        yield from self.declaration.declared_names()

    def _open_tree(self) -> LocalTree | RemoteTree:
        location, name = self.declaration.location, self.declaration.name
        if not location:
            raise Misconfigured(f"source {name}: the kind 'files' needs a location: a folder or an fsspec URL")
        if location.startswith(_LOCAL_PROTOCOLS) and "::" not in location:
            location = location.partition("://")[2]
        if "://" in location or "::" in location:
            return RemoteTree(
                location, storage=self._options.storage, source=name, wanted=self._is_wanted, skips=self._is_skipped
            )
        # An absolute path stays what it is: joining drops what stands before it.
        root = ROOT / Path(location).expanduser()
        return LocalTree(root, source=name, wanted=self._is_wanted, skips=self._is_skipped)

    def _is_wanted(self, uri: str) -> bool:
        return self._glob.match(uri) is not None

    def _is_skipped(self, name: str) -> bool:
        return name.startswith(".") and not self._options.hidden

    def _check_is_of_source(self, uri: str) -> None:
        """A uri that no listing gives is not read: what the glob leaves out stays out of reach."""
        try:
            canonical = normalise_subpath(uri)
        except Misconfigured:
            canonical = ""
        hidden = any(self._is_skipped(part) for part in uri.split("/"))
        if not canonical or canonical != uri or hidden or not self._is_wanted(uri):
            raise PoisonDocument(
                f"document {uri[:200]!r} is not a document of source {self.declaration.name}: it is never listed",
                reason=Reason.UNREADABLE,
            )


@lru_cache(maxsize=64)
def _compiled(globs: tuple[str, ...]) -> re.Pattern[str]:
    """One pattern for all globs: `*` and `?` inside one path component, `**` over any number of them."""
    from fsspec.utils import glob_translate

    return re.compile("|".join(f"(?:{glob_translate(glob)})" for glob in globs))
