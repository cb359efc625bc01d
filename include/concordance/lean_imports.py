"""Importing a library without the work that it does for others: most of what the first search of a process takes is
imports.

Both are bound to the block and, where it matters, to its thread: whoever else imports gets the whole library. A library
that is imported already stays as it is.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_REPLACING = threading.Lock()


@contextmanager
def without(*modules: str) -> Iterator[None]:
    """In this block and thread these modules cannot be imported: for libraries that take them along if they are
    installed, and do without them if not."""
    with _first(_Hidden(frozenset(modules))):
        yield


@contextmanager
def changed(module: str, change: Callable[[ModuleType], None]) -> Iterator[None]:
    """When this module is imported in the block, `change` is applied to it before whoever imports it sees it."""
    with _first(_Changed(module, change)):
        yield


@contextmanager
def _first(finder: MetaPathFinder) -> Iterator[None]:
    # Replaced and never changed: a thread that looks through the list for its own import would miss who is behind the
    # one that goes.
    with _REPLACING:
        sys.meta_path = [finder, *sys.meta_path]
    try:
        yield
    finally:
        with _REPLACING:
            sys.meta_path = [each for each in sys.meta_path if each is not finder]


class _Hidden(MetaPathFinder):
    def __init__(self, modules: frozenset[str]) -> None:
        self._modules, self._thread = modules, threading.get_ident()

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if name in self._modules and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"{name} is left out here", name=name)


class _Changed(MetaPathFinder):
    def __init__(self, module: str, change: Callable[[ModuleType], None]) -> None:
        self._module, self._change = module, change

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        found = PathFinder.find_spec(name, path, target) if name == self._module else None
        if found is not None and found.loader is not None:
            found.loader = _ChangedLoader(found.loader, self._change)
        return found


class _ChangedLoader(Loader):
    def __init__(self, loader: Loader, change: Callable[[ModuleType], None]) -> None:
        self._loader, self._change = loader, change

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        self._change(module)
