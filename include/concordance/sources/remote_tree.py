"""A folder on any fsspec file system (object storage, memory, archives) as a tree of documents.

The stamp is the object's etag where the file system gives one, else size and time of change. Every error of a backend,
whatever its class, is `Unavailable`, but for those that concern one document only. Listings go folder by folder with
`on_error="raise"`: fsspec's `find` leaves out what it could not list.

Object stores are read by several threads at once. Most other file systems have one connection or one open archive, and
two that read from it get each other's bytes: there one document is read at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any

from concordance.errors import ConcordanceError, Misconfigured, PoisonDocument, Unavailable
from concordance.model import Listed, Reason
from concordance.sources.names import by_uri_name

_ETAGS = ("ETag", "etag", "md5", "md5Hash", "content_md5", "checksum", "commit", "sha")
_TIMES = ("mtime", "LastModified", "last_modified", "modified", "updated", "created")


class RemoteTree:
    """`wanted(uri)` says which files are documents; folders named in `skips(name)` are not entered."""

    def __init__(
        self,
        location: str,
        *,
        storage: Mapping[str, Any],
        source: str,
        wanted: Callable[[str], bool],
        skips: Callable[[str], bool],
    ) -> None:
        from fsspec.core import url_to_fs

        self._source = source
        self._wanted = wanted
        self._skips = skips
        try:
            self._fs, root = url_to_fs(location, use_listings_cache=False, **storage)
        except (ImportError, ValueError, TypeError) as error:
            raise Misconfigured(
                f"source {source}: its location cannot be opened ({type(error).__name__}): check its protocol and the "
                "options of its storage; a protocol beyond fsspec's own needs its package installed"
            ) from None
        self._root = str(root).rstrip("/")
        self._turn: AbstractContextManager[Any] = nullcontext() if self._fs.async_impl else threading.Lock()

    def walk(self, subpath: str) -> Iterator[Listed]:
        """Every document below a canonical sub-path. Raises `Misconfigured` (no root) or `Unavailable`."""
        try:
            self._fs.invalidate_cache()
            if not self._fs.isdir(self._root):
                raise Misconfigured(f"source {self._source}: {self._root} is not a folder there: correct its location")
            yield from self._descend(subpath)
        except ConcordanceError:
            raise
        except Exception as error:
            raise Unavailable(
                f"source {self._source}: its listing stopped ({type(error).__name__}); nothing is taken as deleted. "
                "Check that the file system answers and run again"
            ) from None

    def read(self, uri: str, *, limit: int) -> tuple[bytes, str | None]:
        """The bytes of one document, at most `limit`, and their stamp where that is an etag: a time may be spelled
        otherwise in a listing. Raises `PoisonDocument` or `Unavailable`."""
        try:
            with self._turn:
                path = self._located(uri)
                before = self._fs.info(path)
                self._check_is_document(uri, before, limit)
                content = bytes(self._fs.cat_file(path, start=0, end=limit + 1))
                after = self._fs.info(path)
        except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
            raise PoisonDocument(
                f"document {uri} of source {self._source} cannot be read ({type(error).__name__}): make it readable, "
                "or delete it",
                reason=Reason.UNREADABLE,
            ) from None
        except ConcordanceError:
            raise
        except Exception as error:
            raise Unavailable(
                f"source {self._source} does not answer ({type(error).__name__}) while {uri} is read: run again"
            ) from None
        if len(content) > limit:
            raise self._too_large(uri, len(content), limit)
        if not content:
            raise PoisonDocument(f"document {uri} of source {self._source} is an empty file", reason=Reason.EMPTY)
        if self._stamp(path, before) != self._stamp(path, after) or len(content) != after.get("size", len(content)):
            raise Unavailable(f"document {uri} of source {self._source} changed while it was read: run again")
        has_etag = any(after.get(key) for key in _ETAGS)
        return content, self._stamp(path, after) if has_etag else None

    def _descend(self, subpath: str) -> Iterator[Listed]:
        start = self._start(subpath)
        if start is None:
            return
        if not self._fs.isdir(start):
            yield from self._single(subpath, start)
            return
        for folder, folders, files in self._fs.walk(start, detail=True, on_error="raise"):
            below = self._below(start, str(folder), subpath)
            for name in [name for name in folders if self._skips(name)]:
                del folders[name]
            for uri_part, name in by_uri_name(name for name in files if name).items():
                uri = f"{below}/{uri_part}" if below else uri_part
                if files[name].get("type") == "file" and not self._skips(uri_part) and self._wanted(uri):
                    yield self._listed(uri, files[name]["name"], files[name])

    def _single(self, uri: str, path: str) -> Iterator[Listed]:
        """One document, from its folder's listing: what `info` gives may differ from it, and so would the stamp."""
        for info in self._fs.ls(path.rpartition("/")[0], detail=True):
            if str(info["name"]).strip("/") == path.strip("/") and info["type"] == "file" and self._wanted(uri):
                yield self._listed(uri, path, info)

    def _below(self, start: str, folder: str, subpath: str) -> str:
        inner = folder.rstrip("/")[len(start.rstrip("/")) :].strip("/")
        parts = [next(iter(by_uri_name([part]))) for part in inner.split("/") if part]
        return "/".join(([subpath] if subpath else []) + parts)

    def _start(self, subpath: str) -> str | None:
        path = self._root
        for part in subpath.split("/") if subpath else []:
            if self._skips(part):
                return None
            spelled = f"{path}/{part}"
            if not self._fs.exists(spelled):
                if not self._fs.isdir(path):
                    return None
                names = (str(name).rstrip("/").rpartition("/")[2] for name in self._fs.ls(path, detail=False))
                name = by_uri_name(names).get(part)
                if name is None:
                    return None
                spelled = f"{path}/{name}"
            path = spelled
        return path

    def _listed(self, uri: str, path: str, info: Mapping[str, Any]) -> Listed:
        return Listed(uri, self._stamp(path, info), int(info.get("size") or 0), _changed_at(info))

    def _stamp(self, path: str, info: Mapping[str, Any]) -> str:
        for key in _ETAGS:
            if info.get(key):
                return str(info[key]).strip('"')
        when = next((info[key] for key in _TIMES if info.get(key)), None)
        if when is None:
            try:
                when = self._fs.modified(path)
            except NotImplementedError:
                raise Misconfigured(
                    f"source {self._source}: its file system gives neither an etag nor a time of change, so that "
                    "changes could not be seen: use another protocol"
                ) from None
        # One moment comes as a number, a date or a text, by the call that gave it.
        moment = when.timestamp() if isinstance(when, datetime) else when
        spelled = f"{round(moment * 1_000_000):x}" if isinstance(moment, int | float) else str(moment)
        return f"{int(info.get('size') or 0):x}-{spelled}"

    def _located(self, uri: str) -> str:
        path = self._start(uri)
        if path is None:
            raise FileNotFoundError(uri)
        return path

    def _check_is_document(self, uri: str, info: Mapping[str, Any], limit: int) -> None:
        if info.get("type") != "file":
            raise PoisonDocument(f"document {uri} of source {self._source} is not a file", reason=Reason.UNREADABLE)
        if int(info.get("size") or 0) > limit:
            raise self._too_large(uri, int(info["size"]), limit)

    def _too_large(self, uri: str, size: int, limit: int) -> PoisonDocument:
        return PoisonDocument(
            f"document {uri} of source {self._source} has {size} bytes or more, allowed are {limit}: split it, or "
            "raise max_document_bytes",
            reason=Reason.TOO_LARGE,
        )


def _changed_at(info: Mapping[str, Any]) -> datetime | None:
    """The time of change, where the listing gives one besides the etag; a text that is none is left alone."""
    when = next((info[key] for key in _TIMES if info.get(key)), None)
    try:
        if isinstance(when, str):
            when = datetime.fromisoformat(when)
        if isinstance(when, int | float):
            when = datetime.fromtimestamp(when, UTC)
    except (OverflowError, ValueError, OSError):
        return None
    if not isinstance(when, datetime):
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)
