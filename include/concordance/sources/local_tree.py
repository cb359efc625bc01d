"""A folder of this machine as a tree of documents.

Walks with `os.scandir`: twice as fast as fsspec's own local listing, which also leaves out what it could not read.
Only regular files inside the root are documents: a symbolic link to a folder is not followed, one to a file
counts when its target is a regular file inside the root. A listing that returns is complete; anything that could have
shortened it raises `Unavailable`, because what a listing lacks is deleted.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from concordance.errors import Misconfigured, PoisonDocument, Unavailable
from concordance.model import Listed, Reason
from concordance.sources.names import by_uri_name

_READ_ATTEMPTS = 3
_OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_ONE_DOCUMENT = frozenset(
    {
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EACCES,
        errno.EPERM,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENXIO,
        errno.EIO,
        errno.EINVAL,
    }
)


class LocalTree:
    """`wanted(uri)` says which files are documents; folders named in `skips(name)` are not entered."""

    def __init__(self, root: Path, *, source: str, wanted: Callable[[str], bool], skips: Callable[[str], bool]) -> None:
        self._root = os.path.realpath(root)
        self._source = source
        self._wanted = wanted
        self._skips = skips

    def walk(self, subpath: str) -> Iterator[Listed]:
        """Every document below a canonical sub-path. Raises `Misconfigured` (no root) or `Unavailable`."""
        before = self._root_identity()
        start = self._start(subpath)
        if start is not None:
            yield from self._descend(start, subpath)
        if self._root_identity() != before:
            raise Unavailable(f"source {self._source}: its folder was replaced while it was listed: list it again")

    def read(self, uri: str, *, limit: int) -> tuple[bytes, str | None]:
        """The bytes of one document, at most `limit`, and their stamp. Raises `PoisonDocument` or `Unavailable`."""
        for _ in range(_READ_ATTEMPTS):
            found = self._read_once(uri, limit)
            if found is not None:
                return found
        raise PoisonDocument(
            f"document {uri} of source {self._source} changed each time it was read: the next run reads it again",
            reason=Reason.UNREADABLE,
        )

    def _root_identity(self) -> tuple[int, int]:
        try:
            found = os.stat(self._root)
        except OSError as error:
            raise Misconfigured(
                f"source {self._source}: the folder {self._root} is not there or cannot be read "
                f"({type(error).__name__}): correct its location in the sources file, or mount it"
            ) from None
        if not stat.S_ISDIR(found.st_mode):
            raise Misconfigured(f"source {self._source}: {self._root} is not a folder: correct its location")
        return found.st_dev, found.st_ino

    def _start(self, subpath: str) -> str | None:
        """The path of the sub-path, None when nothing of this source can lie there."""
        path = self._root
        for part in subpath.split("/") if subpath else []:
            if os.path.islink(path) or self._skips(part):
                return None
            name = self._spelling(path, part)
            if name is None:
                return None
            path = os.path.join(path, name)
        return path

    def _spelling(self, folder: str, part: str) -> str | None:
        """How the part of a uri is spelled in a folder."""
        if os.path.lexists(os.path.join(folder, part)):
            return part
        try:
            return by_uri_name(os.listdir(folder)).get(part)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return None

    def _descend(self, start: str, subpath: str) -> Iterator[Listed]:
        if subpath and not os.path.isdir(start):
            parent, name = os.path.split(start)
            folders = [(parent, subpath.rpartition("/")[0])]
            only: str | None = name
        elif os.path.islink(start):
            return
        else:
            folders, only = [(start, subpath)], None
        while folders:
            folder, below = folders.pop()
            prefix = f"{below}/" if below else ""
            for uri_part, entry in self._entries(folder, below):
                if self._skips(uri_part) or (only is not None and entry.name != only):
                    continue
                uri = prefix + uri_part
                try:
                    if entry.is_dir(follow_symlinks=False):
                        if only is None:
                            folders.append((entry.path, uri))
                    elif self._wanted(uri) and (found := self._document_stat(entry)) is not None:
                        yield Listed(uri, _stamp(found), found.st_size, _changed_at(found))
                except FileNotFoundError:
                    continue  # deleted since its folder was read: not a document any more
                except OSError as error:
                    raise self._listing_stopped(uri, error) from None

    def _entries(self, folder: str, below: str) -> list[tuple[str, os.DirEntry[str]]]:
        try:
            with os.scandir(folder) as scan:
                entries = list(scan)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and below:
                return []  # deleted since its parent was read; the root's own identity is checked at the end
            raise self._listing_stopped(below, error) from None
        if all(entry.name.isascii() for entry in entries):
            return [(entry.name, entry) for entry in entries]
        by_name = {entry.name: entry for entry in entries}
        return [(uri_part, by_name[name]) for uri_part, name in by_uri_name(by_name).items()]

    def _document_stat(self, entry: os.DirEntry[str]) -> os.stat_result | None:
        """The status of a regular file, None for anything that is not a document."""
        if entry.is_symlink():
            if not self._is_inside(os.path.realpath(entry.path)):
                return None
            try:
                found = os.stat(entry.path)
            except OSError as error:
                if error.errno == errno.ELOOP:
                    return None
                raise
        elif entry.is_file(follow_symlinks=False):
            return entry.stat(follow_symlinks=False)
        else:
            return None
        return found if stat.S_ISREG(found.st_mode) else None

    def _is_inside(self, real: str) -> bool:
        return real == self._root or real.startswith(self._root.rstrip("/") + "/")

    def _listing_stopped(self, uri: str, error: OSError) -> Unavailable:
        name = errno.errorcode.get(error.errno or 0, type(error).__name__)
        return Unavailable(
            f"source {self._source}: its listing stopped at {uri or 'its root'} ({name}); nothing is taken as deleted. "
            "Make the folder readable and run again"
        )

    def _read_once(self, uri: str, limit: int) -> tuple[bytes, str] | None:
        """The content and its stamp, or None when the file changed meanwhile."""
        try:
            descriptor = os.open(self._located(uri), _OPEN_FLAGS)
            with open(descriptor, "rb", buffering=0) as file:
                before = os.fstat(file.fileno())
                self._check_is_document(uri, before, limit)
                content = _read_all(file.fileno(), limit)
                if hashlib.sha256(content).digest() != _digest(file.fileno(), len(content)):
                    return None
                after = os.fstat(file.fileno())
        except OSError as error:
            raise self._unreadable(uri, error) from None
        if _stamp(before) != _stamp(after) or len(content) != after.st_size:
            return None
        return content, _stamp(after)

    def _located(self, uri: str) -> str:
        path = self._start(uri)
        if path is None:
            raise FileNotFoundError(errno.ENOENT, "not there")
        real = os.path.realpath(path)
        if not self._is_inside(real):
            raise PoisonDocument(
                f"document {uri} of source {self._source} is a link that leaves the source: it is not read",
                reason=Reason.UNREADABLE,
            )
        return real

    def _check_is_document(self, uri: str, found: os.stat_result, limit: int) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise PoisonDocument(
                f"document {uri} of source {self._source} is not a regular file", reason=Reason.UNREADABLE
            )
        if found.st_size > limit:
            raise PoisonDocument(
                f"document {uri} of source {self._source} has {found.st_size} bytes, allowed are {limit}: split it, or "
                "raise max_document_bytes",
                reason=Reason.TOO_LARGE,
            )
        if found.st_size == 0:
            raise PoisonDocument(f"document {uri} of source {self._source} is an empty file", reason=Reason.EMPTY)

    def _unreadable(self, uri: str, error: OSError) -> PoisonDocument | Unavailable:
        name = errno.errorcode.get(error.errno or 0, type(error).__name__)
        if error.errno in _ONE_DOCUMENT and os.path.isdir(self._root):
            return PoisonDocument(
                f"document {uri} of source {self._source} cannot be read ({name}): make it readable, or delete it",
                reason=Reason.UNREADABLE,
            )
        return Unavailable(f"source {self._source} does not answer ({name}) while {uri} is read: run again")


def _changed_at(found: os.stat_result) -> datetime | None:
    try:
        return datetime.fromtimestamp(found.st_mtime, UTC)
    except (OverflowError, ValueError):
        return None  # a time that no calendar has


def _stamp(found: os.stat_result) -> str:
    return f"{found.st_size:x}-{found.st_mtime_ns:x}"


def _read_all(descriptor: int, limit: int) -> bytes:
    parts, size = [], 0
    while size <= limit and (part := os.read(descriptor, min(1 << 20, limit + 1 - size))):
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def _digest(descriptor: int, size: int) -> bytes:
    """SHA-256 of the file as it is now: a second reading finds a change that kept size and time."""
    digest, offset = hashlib.sha256(), 0
    while offset < size and (part := os.pread(descriptor, min(1 << 20, size - offset), offset)):
        digest.update(part)
        offset += len(part)
    return digest.digest()
