"""The kinds of sources: a name, and the class that lists and reads such a source.

A new kind is one file with one small class, one line here, and one test file that passes
`tests/contract/source_contract.py`. Classes are named, not imported: the declarations are read when Airflow parses the
DAGs, and a kind's libraries are loaded only when a source of that kind is opened.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from concordance.errors import Misconfigured

if TYPE_CHECKING:
    from concordance.settings import Settings
    from concordance.sources.declaration import SourceDeclaration
    from concordance.sources.port import Source

KINDS = {
    "distributions": "concordance.sources.distributions:DistributionsSource",
    "files": "concordance.sources.files:FilesSource",
}


def kind_class(kind: str) -> Any:
    """The class of a kind. Raises `Misconfigured` naming the kinds that there are."""
    if kind not in KINDS:
        raise Misconfigured(f"there is no kind of source {kind!r}; allowed: {', '.join(sorted(KINDS))}")
    module, _, name = KINDS[kind].partition(":")
    return getattr(import_module(module), name)


def open_source(declaration: SourceDeclaration, settings: Settings) -> Source:
    """The source that a declaration describes. Raises `Misconfigured` for an unknown kind or an impossible location."""
    return cast("Source", kind_class(declaration.kind)(declaration, settings))
