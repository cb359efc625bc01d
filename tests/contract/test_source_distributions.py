"""The kind `distributions` keeps the promises of the sources."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from concordance.settings import Settings
from concordance.sources.declaration import SourceDeclaration
from concordance.sources.kinds import open_source
from concordance.sources.port import Source
from contract.source_contract import SourceContract


class SitePackagesShelf:
    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()

    def open(self) -> Source:
        table = {"name": "shelf", "kind": "distributions", "tenant": "demo", "location": str(self.root)}
        return open_source(SourceDeclaration.parse(table, where="test"), Settings())

    def put(self, name: str, text: str) -> str:
        folder = self.root / f"{name}-1.0.dist-info"
        folder.mkdir(exist_ok=True)
        metadata = (
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nDescription-Content-Type: text/markdown\n\n{text}"
        )
        (folder / "METADATA").write_text(metadata, encoding="utf-8")
        return name

    def remove(self, uri: str) -> None:
        shutil.rmtree(self.root / f"{uri}-1.0.dist-info")

    def close(self) -> None:
        shutil.rmtree(self.root)


class TestDistributions(SourceContract):
    @pytest.fixture
    def shelf(self, tmp_path: Path) -> SitePackagesShelf:
        return SitePackagesShelf(tmp_path / "site-packages")
