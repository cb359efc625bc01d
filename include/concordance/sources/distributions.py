"""The kind `distributions`: every installed Python distribution is a document, its README from the package metadata.

The uri is the canonical name (PyPA's normalisation). Requirements become links and relations, authors, licence and
keywords entities. Requirements that only an extra brings are left out; environment markers are not evaluated, so that
the same package gives the same document on every machine. E-mail addresses are personal data and are not kept.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PathDistribution
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, field_validator

from concordance.errors import Misconfigured, PoisonDocument, Unavailable
from concordance.model import Entity, EntityType, Listed, RawDocument, Reason
from concordance.settings import ROOT, Settings
from concordance.sources import package_metadata
from concordance.sources.declaration import SourceDeclaration, check_options
from concordance.sources.subpath import is_below, normalise_subpath

_METADATA_FILES = {".dist-info": "METADATA", ".egg-info": "PKG-INFO"}


class DistributionsOptions(BaseModel):
    """`path`: folders of installed packages, looked through in this order; none: the interpreter's `sys.path`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    path: tuple[str, ...] = ()

    @field_validator("path", mode="before")
    @classmethod
    def _one_or_many(cls, path: object) -> object:
        return (path,) if isinstance(path, str) else path


@dataclass(frozen=True, slots=True)
class _Installed:
    """One distribution's folder (`name-version.dist-info`) and its metadata file."""

    folder: Path
    metadata: Path
    version: str

    def stamp(self) -> tuple[str, int]:
        """The stamp of the metadata file as it is now, and its size. Raises `OSError`."""
        found = self.metadata.stat()
        return f"{self.version}-{found.st_size:x}-{found.st_mtime_ns:x}", found.st_size


class DistributionsSource:
    """Documents are the READMEs of the distributions in some folders; the first of one name on the path wins."""

    Options: ClassVar[type[BaseModel]] = DistributionsOptions
    path_uris: ClassVar[bool] = False

    def __init__(self, declaration: SourceDeclaration, settings: Settings) -> None:
        self.declaration = declaration
        self._max_documents = declaration.max_documents(settings)
        self._max_bytes = declaration.max_document_bytes(settings)
        options: DistributionsOptions = check_options(declaration, where=f"source {declaration.name}")
        stated = ((declaration.location,) if declaration.location else ()) + options.path
        self._folders = tuple(ROOT / Path(folder).expanduser() for folder in stated)
        self._index: dict[str, _Installed] = {}

    def list(self, subpath: str = "") -> Iterator[Listed]:
        """Every distribution, or the one that `subpath` names. Raises as the port says."""
        below = normalise_subpath(subpath)
        self._index = self._installed()
        if len(self._index) > self._max_documents:
            raise Misconfigured(
                f"source {self.declaration.name} has more than {self._max_documents} documents: raise max_documents of "
                "the source or max_documents_per_source"
            )
        for uri, installed in self._index.items():
            if not is_below(uri, below):
                continue
            try:
                stamp, size = installed.stamp()
            except FileNotFoundError:
                continue  # uninstalled since its folder was read
            except OSError as error:
                raise self._listing_stopped(installed.metadata, error) from None
            yield Listed(uri, stamp, size)

    def read(self, uri: str) -> RawDocument:
        """The README and what the metadata states. Raises `PoisonDocument` (`no_text` without a README) or
        `Unavailable`."""
        index = self._index
        if uri not in index:
            # Another thread may do the same: what was found here is what is read here.
            self._index = index = self._installed()
        if uri not in index:
            raise PoisonDocument(
                f"document {uri[:200]!r} of source {self.declaration.name} is no longer installed",
                reason=Reason.UNREADABLE,
            )
        installed = index[uri]
        self._check_size(uri, installed.metadata)
        try:
            before, _ = installed.stamp()
            found = package_metadata.document(uri, PathDistribution(installed.folder).metadata)
            # One that was installed anew meanwhile has a stamp that no listing gives: the next run reads it again.
            return replace(found, stamp=before if installed.stamp()[0] == before else "")
        except (OSError, UnicodeError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise PoisonDocument(
                f"document {uri} of source {self.declaration.name}: its metadata cannot be read "
                f"({type(error).__name__}): install the package again",
                reason=Reason.UNREADABLE,
            ) from None

    def names(self) -> Iterator[Entity]:
        """Every distribution's canonical name, and the declared names."""
        for uri in self._installed():
            yield Entity(EntityType.PACKAGE, uri)
        yield from self.declaration.declared_names()

    def _installed(self) -> dict[str, _Installed]:
        found: dict[str, _Installed] = {}
        for folder in self._folders or (Path(entry or os.curdir) for entry in sys.path):
            for path in self._metadata_folders(folder):
                name, _, version = path.stem.partition("-")
                uri = package_metadata.canonical_name(name)
                metadata = path / _METADATA_FILES[path.suffix]
                if uri and uri not in found and metadata.is_file():
                    found[uri] = _Installed(path, metadata, version)
        return found

    def _metadata_folders(self, folder: Path) -> Sequence[Path]:
        """The metadata folders of one folder in a fixed order: that of a directory differs between machines."""
        try:
            with os.scandir(folder) as scan:
                return sorted(Path(entry.path) for entry in scan if Path(entry.name).suffix in _METADATA_FILES)
        except (FileNotFoundError, NotADirectoryError):
            if self._folders:
                raise Misconfigured(
                    f"source {self.declaration.name}: the folder {folder} is not there: correct its location or its "
                    "option path"
                ) from None
            return []  # sys.path names folders that were never made, and archives
        except OSError as error:
            raise self._listing_stopped(folder, error) from None

    def _listing_stopped(self, path: Path, error: OSError) -> Unavailable:
        return Unavailable(
            f"source {self.declaration.name}: its listing stopped at {path} ({type(error).__name__}); nothing is taken "
            "as deleted. Make it readable and run again"
        )

    def _check_size(self, uri: str, metadata: Path) -> None:
        try:
            size = metadata.stat().st_size
        except OSError as error:
            raise PoisonDocument(
                f"document {uri} of source {self.declaration.name} cannot be read ({type(error).__name__})",
                reason=Reason.UNREADABLE,
            ) from None
        if size > self._max_bytes:
            raise PoisonDocument(
                f"document {uri} of source {self.declaration.name} has {size} bytes, allowed are {self._max_bytes}: "
                "raise max_document_bytes",
                reason=Reason.TOO_LARGE,
            )
