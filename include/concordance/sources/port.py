"""The port of the sources. A new kind is one file, one small class, and passes `tests/contract/source_contract.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Protocol

from concordance.model import Entity, Listed, RawDocument
from concordance.sources.declaration import SourceDeclaration


class Source(Protocol):
    declaration: SourceDeclaration
    path_uris: ClassVar[bool]
    """Whether uris are paths, so that a relative link in a document names another one (`parsing.links`)."""

    def list(self, subpath: str = "") -> Iterator[Listed]:
        """Every document below `subpath` ("" is all), each uri once, in any order.

        Raises `Unavailable` when the listing could not be completed: a listing that returns is complete, because what
        it lacks is deleted. `Misconfigured` when the location is not there at all.
        """

    def read(self, uri: str) -> RawDocument:
        """The document's bytes and metadata; several threads may read at once. Raises `PoisonDocument` (`unreadable`,
        `empty`, `too_large`), or `Unavailable` when the source itself does not answer."""

    def names(self) -> Iterator[Entity]:
        """The names that this source declares for entity linking (the gazetteer)."""
