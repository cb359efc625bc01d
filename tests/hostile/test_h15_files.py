"""Folders that are not what they seem: links, devices, files that change, listings that break off."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from concordance.errors import Misconfigured, PoisonDocument, Unavailable
from concordance.model import Reason
from concordance.settings import Settings
from concordance.sources import local_tree
from concordance.sources.declaration import SourceDeclaration
from concordance.sources.kinds import open_source
from concordance.sources.port import Source


def folder(root: Path | str, **more: Any) -> Source:
    table = {"name": "shelf", "kind": "files", "tenant": "demo", "location": str(root), **more}
    return open_source(SourceDeclaration.parse(table, where="test"), Settings())


def uris(source: Source) -> set[str]:
    return {listed.uri for listed in source.list()}


def refusal(source: Source, uri: str) -> Reason:
    with pytest.raises(PoisonDocument) as refused:
        source.read(uri)
    assert "canary sings" not in str(refused.value)
    return Reason(refused.value.reason)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "shelf"
    root.mkdir()
    (root / "good.md").write_text("good")
    (tmp_path / "canary.md").write_text("the canary sings")
    return root


def test_a_link_that_leaves_the_source_is_no_document_and_is_not_read(root: Path) -> None:
    (root / "out.md").symlink_to(root.parent / "canary.md")
    (root / "up").symlink_to(root.parent)
    source = folder(root)
    assert uris(source) == {"good.md"}
    assert refusal(source, "out.md") == Reason.UNREADABLE
    assert refusal(source, "up/canary.md") == Reason.UNREADABLE


def test_a_link_to_a_file_of_the_source_is_a_document(root: Path) -> None:
    (root / "alias.md").symlink_to("good.md")
    source = folder(root)
    assert uris(source) == {"good.md", "alias.md"}
    assert source.read("alias.md").content == b"good"


def test_links_to_folders_are_not_followed_so_that_a_ring_of_them_ends(root: Path) -> None:
    (root / "inner").mkdir()
    (root / "inner" / "again").symlink_to(root)
    (root / "broken.md").symlink_to("nowhere")
    (root / "self.md").symlink_to("self.md")
    assert uris(folder(root)) == {"good.md"}


def test_pipes_sockets_devices_and_folders_are_no_documents(root: Path) -> None:
    os.mkfifo(root / "pipe.md")
    (root / "folder.md").mkdir()
    (root / "zero.md").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(root / "socket.md"))
        source = folder(root)
        assert uris(source) == {"good.md"}
        for uri in ("pipe.md", "folder.md", "zero.md", "socket.md"):
            assert refusal(source, uri) == Reason.UNREADABLE


def test_an_empty_file_is_quarantined_as_empty(root: Path) -> None:
    (root / "empty.md").touch()
    assert refusal(folder(root), "empty.md") == Reason.EMPTY


def test_a_sparse_terabyte_is_refused_before_it_is_read(root: Path) -> None:
    with (root / "huge.md").open("wb") as file:
        file.truncate(1 << 40)
    assert refusal(folder(root), "huge.md") == Reason.TOO_LARGE


def test_a_file_above_the_sources_own_limit_is_refused(root: Path) -> None:
    assert refusal(folder(root, limits={"max_document_bytes": 3}), "good.md") == Reason.TOO_LARGE


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads what nobody may read")
def test_a_file_without_read_permission_is_quarantined_as_unreadable(root: Path) -> None:
    (root / "good.md").chmod(0)
    assert refusal(folder(root), "good.md") == Reason.UNREADABLE


def test_a_hidden_file_is_out_of_reach_even_by_its_name(root: Path) -> None:
    (root / ".env.md").write_text("the canary sings")
    source = folder(root)
    assert uris(source) == {"good.md"}
    assert refusal(source, ".env.md") == Reason.UNREADABLE
    assert uris(folder(root, options={"hidden": True})) == {"good.md", ".env.md"}


def test_a_file_that_changes_whenever_it_is_read_is_quarantined(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_all = local_tree._read_all

    def changed_after_each_reading(descriptor: int, limit: int) -> bytes:
        content = read_all(descriptor, limit)
        before = os.fstat(descriptor)
        # Same size, same time: only its digest tells.
        (root / "good.md").write_bytes(bytes(reversed(content)))
        os.utime(root / "good.md", ns=(before.st_atime_ns, before.st_mtime_ns))
        return content

    monkeypatch.setattr(local_tree, "_read_all", changed_after_each_reading)
    assert refusal(folder(root), "good.md") == Reason.UNREADABLE


def test_names_of_bytes_that_are_no_text_get_a_uri_that_reads(root: Path) -> None:
    Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9.md")).write_text("latin")
    source = folder(root)
    assert uris(source) == {"good.md", "caf%E9.md"}
    assert source.read("caf%E9.md").content == b"latin"


def test_a_name_of_hostile_characters_is_only_a_name(root: Path) -> None:
    for name in ("`}) DETACH DELETE n \\ .md", "two\nlines.md", " spaces .md", "-rf.md", "a" * 240 + ".md"):
        (root / name).write_text("text")
        assert name in uris(folder(root))
        assert folder(root).read(name).content == b"text"


def test_more_documents_than_allowed_stop_the_listing_with_what_to_do(root: Path) -> None:
    (root / "second.md").write_text("more")
    with pytest.raises(Misconfigured, match="narrow its glob"):
        uris(folder(root, limits={"max_documents": 1}))


def test_a_root_that_is_a_file_is_a_mistake_of_the_declaration(root: Path) -> None:
    with pytest.raises(Misconfigured, match="not a folder"):
        uris(folder(root / "good.md"))


def test_a_folder_that_cannot_be_listed_gives_no_short_listing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "inner").mkdir()
    scandir = os.scandir

    def failing(path: str) -> Any:
        if str(path).endswith("inner"):
            raise OSError(5, "input/output error")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", failing)
    with pytest.raises(Unavailable, match=r"listing stopped at inner \(EIO\)"):
        uris(folder(root))


def test_a_root_that_is_replaced_in_mid_listing_gives_no_short_listing(root: Path) -> None:
    listing = folder(root).list()
    next(listing)
    root.rename(root.parent / "moved")
    root.mkdir()
    with pytest.raises(Unavailable, match="was replaced"):
        list(listing)


def test_a_folder_that_grows_and_shrinks_while_it_is_listed_still_lists_what_stays(root: Path) -> None:
    for number in range(200):
        (root / f"stays-{number}.md").write_text("stays")
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            for number in range(20):
                (root / f"comes-{number}.md").write_text("comes")
            for number in range(20):
                (root / f"comes-{number}.md").unlink()

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(20):
            assert {f"stays-{number}.md" for number in range(200)} <= uris(folder(root))
    finally:
        stop.set()
        thread.join()


class BreakingFileSystem(MemoryFileSystem):
    """A file system whose backend fails at one folder, as an object store does in mid-listing."""

    protocol = "breaking"
    store: dict[str, Any] = {}  # noqa: RUF012 - shared by design, as in its base
    pseudo_dirs = [""]  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.replace("breaking://", "memory://")))

    def ls(self, path: str, detail: bool = True, **more: Any) -> Any:
        if path.rstrip("/").endswith("/inner"):
            raise RuntimeError("backend: 503 slow down")
        return super().ls(path, detail=detail, **more)


@pytest.fixture
def breaking() -> Iterator[MemoryFileSystem]:
    fsspec.register_implementation("breaking", BreakingFileSystem, clobber=True)
    fs = fsspec.filesystem("breaking")
    fs.pipe_file("/shelf/good.md", b"good")
    yield fs
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


def test_a_backend_that_fails_in_mid_listing_gives_no_short_listing(breaking: MemoryFileSystem) -> None:
    source = folder("breaking://shelf")
    assert uris(source) == {"good.md"}
    breaking.pipe_file("/shelf/inner/more.md", b"more")
    with pytest.raises(Unavailable, match=r"listing stopped \(RuntimeError\)"):
        uris(source)


def test_an_object_above_the_limit_and_an_empty_one_are_refused(breaking: MemoryFileSystem) -> None:
    breaking.pipe_file("/shelf/empty.md", b"")
    breaking.pipe_file("/shelf/large.md", b"x" * 100)
    source = folder("breaking://shelf", limits={"max_document_bytes": 50})
    assert refusal(source, "empty.md") == Reason.EMPTY
    assert refusal(source, "large.md") == Reason.TOO_LARGE
