"""The kind `files` keeps the promises of the sources, on a folder of this machine and on an fsspec file system."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest

from concordance.settings import Settings
from concordance.sources.declaration import SourceDeclaration
from concordance.sources.kinds import open_source
from concordance.sources.port import Source
from contract.source_contract import SourceContract, listing


def declared(location: str) -> SourceDeclaration:
    table = {
        "name": "shelf",
        "kind": "files",
        "tenant": "demo",
        "location": location,
        "glob": "**/*.md",
        "names": [{"type": "term", "name": "Concordance"}],
    }
    return SourceDeclaration.parse(table, where="test")


class FolderShelf:
    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()

    def open(self) -> Source:
        return open_source(declared(str(self.root)), Settings())

    def put(self, name: str, text: str) -> str:
        path = self.root / f"{name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return f"{name}.md"

    def remove(self, uri: str) -> None:
        (self.root / uri).unlink()

    def close(self) -> None:
        shutil.rmtree(self.root)


class MemoryShelf:
    def __init__(self) -> None:
        self.fs = fsspec.filesystem("memory")
        self.root = f"/shelf-{uuid4().hex}"
        self.fs.makedirs(self.root)

    def open(self) -> Source:
        return open_source(declared(f"memory:/{self.root}"), Settings())

    def put(self, name: str, text: str) -> str:
        self.fs.pipe_file(f"{self.root}/{name}.md", text.encode())
        return f"{name}.md"

    def remove(self, uri: str) -> None:
        self.fs.rm_file(f"{self.root}/{uri}")

    def close(self) -> None:
        if self.fs.exists(self.root):
            self.fs.rm(self.root, recursive=True)


class PathUris:
    """What uris that are paths promise beside."""

    def test_a_folder_as_subpath_lists_what_lies_under_it(self, shelf: FolderShelf) -> None:
        inner = {shelf.put("guides/install", "text"), shelf.put("guides/deep/er/tune", "text")}
        shelf.put("guides-old/install", "text")
        shelf.put("top", "text")
        assert set(listing(shelf.open(), "guides")) == inner
        assert set(listing(shelf.open(), "guides/")) == inner
        assert set(listing(shelf.open(), "guides/deep")) == {"guides/deep/er/tune.md"}

    def test_names_beyond_ascii_are_listed_composed_and_read(self, shelf: FolderShelf) -> None:
        decomposed = "u\u0308ber/cafe\u0301 \N{SNOWMAN}"
        shelf.put(decomposed, "text")
        composed = "\u00fcber/caf\u00e9 \N{SNOWMAN}.md"
        assert set(listing(shelf.open())) == {composed}
        assert shelf.open().read(composed).content == b"text"
        assert set(listing(shelf.open(), "\u00fcber")) == {composed}

    def test_two_names_that_are_equal_in_unicode_are_one_document_and_always_the_same(self, shelf: FolderShelf) -> None:
        shelf.put("cafe\u0301", "decomposed")
        shelf.put("caf\u00e9", "composed")
        assert set(listing(shelf.open())) == {"caf\u00e9.md"}
        assert shelf.open().read("caf\u00e9.md").content == b"composed"

    def test_names_that_differ_in_case_are_two_documents(self, shelf: FolderShelf) -> None:
        assert {shelf.put("Read", "a"), shelf.put("read", "b")} == set(listing(shelf.open()))

    def test_only_what_the_glob_names_is_a_document(self, shelf: FolderShelf) -> None:
        shelf.put("notes.txt/inner", "text")
        shelf.put(".hidden/secret", "text")
        shelf.put("visible/.secret", "text")
        assert set(listing(shelf.open())) == {"notes.txt/inner.md"}


class TestFolder(SourceContract, PathUris):
    @pytest.fixture
    def shelf(self, tmp_path: Path) -> FolderShelf:
        return FolderShelf(tmp_path / "shelf")


class TestMemoryFileSystem(SourceContract, PathUris):
    @pytest.fixture
    def shelf(self) -> Iterator[MemoryShelf]:
        shelf = MemoryShelf()
        yield shelf
        shelf.close()


def test_an_archive_that_is_open_once_gives_several_threads_each_its_own_document(tmp_path: Path) -> None:
    texts = {f"{number}.md": f"{number:04d}".encode() * 5_000 for number in range(40)}
    with tarfile.open(tmp_path / "shelf.tar", "w") as archive:
        for uri, content in texts.items():
            member = tarfile.TarInfo(f"shelf/{uri}")
            member.size, member.mtime = len(content), 1_700_000_000
            archive.addfile(member, io.BytesIO(content))
    source = open_source(declared(f"tar://shelf::file://{tmp_path}/shelf.tar"), Settings())
    with ThreadPoolExecutor(4) as threads:
        for _ in range(10):
            assert {raw.uri: raw.content for raw in threads.map(source.read, texts)} == texts
