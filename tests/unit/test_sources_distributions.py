"""What the metadata of a Python package becomes: entities, relations, links, a README."""

from __future__ import annotations

import os
from email import message_from_string
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concordance.errors import Misconfigured, PoisonDocument, Unavailable
from concordance.model import EntityRole, EntityType, Link, LinkKind, RawDocument, Reason, RelationKind
from concordance.settings import Settings
from concordance.sources import package_metadata
from concordance.sources.declaration import SourceDeclaration
from concordance.sources.kinds import open_source
from concordance.sources.package_metadata import PackageMetadata
from concordance.sources.port import Source

HEADERS = """Metadata-Version: 2.4
Name: Sample.Package
Version: 1.0
Summary: Does one thing well
"""


def document(headers: str, body: str = "# Sample\n\nText.\n") -> RawDocument:
    message = message_from_string(f"{HEADERS}{headers}\n{body}")
    return package_metadata.document("sample-package", cast(PackageMetadata, message))


def names(raw: RawDocument, role: EntityRole) -> list[str]:
    return [found.entity.name for found in raw.entities if found.role is role]


def installed(*roots: Path) -> Source:
    table = {
        "name": "packages",
        "kind": "distributions",
        "tenant": "demo",
        "options": {"path": [str(root) for root in roots]},
    }
    return open_source(SourceDeclaration.parse(table, where="test"), Settings())


def install(root: Path, name: str, *, version: str = "1.0", body: str = "text", ending: str = "dist-info") -> None:
    folder = root / f"{name}-{version}.{ending}"
    folder.mkdir(parents=True)
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\n{body}"
    (folder / ("METADATA" if ending == "dist-info" else "PKG-INFO")).write_text(text)


def test_the_title_is_name_and_summary_and_the_package_its_own_subject() -> None:
    raw = document("")
    assert raw.title == "Sample.Package — Does one thing well"
    assert names(raw, EntityRole.SUBJECT) == ["sample-package"]


def test_requirements_become_links_and_relations_but_those_of_extras() -> None:
    raw = document(
        "Requires-Dist: Typing_Extensions>=4; python_version < '3.12'\n"
        "Requires-Dist: requests[socks] (>=2)\n"
        "Requires-Dist: pytest; extra == 'test'\n"
        "Requires-Dist: sample-package[all]\n"
        "Requires-Dist: not a requirement !!\n"
    )
    assert raw.links == (Link(LinkKind.REQUIRES, "requests"), Link(LinkKind.REQUIRES, "typing-extensions"))
    required = [relation.object.name for relation in raw.relations if relation.kind is RelationKind.REQUIRES]
    assert required == ["requests", "typing-extensions"]


def test_people_are_kept_by_name_and_never_by_address() -> None:
    raw = document(
        "Author: Ada Lovelace <ada@example.org>, Charles Babbage and contributors\n"
        'Author-email: "Hopper, Grace" <grace@example.org>, nobody@example.org\n'
        "Maintainer: ada lovelace\nMaintainer-email: UNKNOWN\n"
    )
    assert names(raw, EntityRole.AUTHOR) == ["Ada Lovelace", "Charles Babbage", "Hopper, Grace"]
    assert "@" not in repr((raw.entities, raw.relations))


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ("License-Expression: MIT OR (Apache-2.0 AND BSD-3-Clause)\n", ["MIT", "Apache-2.0", "BSD-3-Clause"]),
        ("Classifier: License :: OSI Approved :: MIT License\nLicense: whatever\n", ["MIT"]),
        ("Classifier: License :: OSI Approved\nLicense: Apache 2.0\n", ["Apache-2.0"]),
        ("License: Permission is hereby granted\n  to anybody who\n", []),
        ("License: UNKNOWN\n", []),
    ],
)
def test_licences_are_names_and_two_spellings_are_one(headers: str, expected: list[str]) -> None:
    assert names(document(headers), EntityRole.LICENCE) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ("Keywords: HTTP,async io, http ,'web'\n", ["http", "async io", "web"]),
        ("Keywords: graph vector store\n", ["graph", "vector", "store"]),
        ("Keywords: a,!!,https://example.org,me@example.org," + "x" * 41 + "\n", []),
        ("Keywords: " + ",".join(f"word{number}" for number in range(500)) + "\n", [f"word{n}" for n in range(20)]),
    ],
)
def test_keywords_are_few_short_and_words(headers: str, expected: list[str]) -> None:
    assert names(document(headers), EntityRole.KEYWORD) == expected


@pytest.mark.parametrize("body", ["", "   \n", "UNKNOWN\n"])
def test_a_package_without_a_readme_is_quarantined_as_without_text(body: str) -> None:
    with pytest.raises(PoisonDocument) as refused:
        document("", body)
    assert refused.value.reason == Reason.NO_TEXT


def test_a_readme_in_an_old_description_header_is_unfolded() -> None:
    raw = document("Description: First line\n        \n        second line\n", body="")
    assert raw.content.decode().splitlines() == ["First line", "", "second line"]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [("", "text/x-rst"), ("Description-Content-Type: text/Markdown; charset=UTF-8; variant=GFM\n", "text/markdown")],
)
def test_the_readmes_media_type_is_the_declared_one(headers: str, expected: str) -> None:
    assert document(headers).media_type == expected


@given(st.text(max_size=200), st.text(max_size=200), st.text(max_size=200))
def test_whatever_strangers_write_gives_bounded_names(author: str, licence: str, keywords: str) -> None:
    message = message_from_string(HEADERS + "\n\ntext")
    for header, value in (("Author", author), ("Author-email", author), ("License", licence), ("Keywords", keywords)):
        message.add_header(header, " ".join(value.split()))
    raw = package_metadata.document("sample-package", cast(PackageMetadata, message))
    assert all(0 < len(found.entity.name) <= package_metadata.MAX_NAME_CHARACTERS for found in raw.entities)
    assert not any("@" in found.entity.name for found in raw.entities if found.entity.type is EntityType.PERSON)


def test_the_first_of_one_name_on_the_path_wins(tmp_path: Path) -> None:
    install(tmp_path / "first", "some_package", body="first")
    install(tmp_path / "second", "Some.Package", version="2.0", body="second")
    source = installed(tmp_path / "first", tmp_path / "second")
    assert [listed.uri for listed in source.list()] == ["some-package"]
    assert source.read("some-package").content == b"first"


def test_a_new_version_of_a_package_changes_its_stamp(tmp_path: Path) -> None:
    install(tmp_path, "sample", version="1.0")
    source = installed(tmp_path)
    (before,) = source.list()
    (tmp_path / "sample-1.0.dist-info").rename(tmp_path / "sample-1.1.dist-info")
    (after,) = source.list()
    assert after.stamp != before.stamp


def test_an_egg_is_a_distribution_too(tmp_path: Path) -> None:
    install(tmp_path, "older", ending="egg-info", body="an older package")
    assert b"an older package" in installed(tmp_path).read("older").content


def test_metadata_that_is_no_text_is_quarantined_as_unreadable(tmp_path: Path) -> None:
    install(tmp_path, "broken")
    (tmp_path / "broken-1.0.dist-info" / "METADATA").write_bytes(b"Name: broken\n\n\xff\xfe\x00bytes")
    with pytest.raises(PoisonDocument) as refused:
        installed(tmp_path).read("broken")
    assert refused.value.reason == Reason.UNREADABLE


def test_metadata_above_the_limit_is_refused(tmp_path: Path) -> None:
    install(tmp_path, "large", body="x" * 1000)
    table = {
        "name": "packages",
        "kind": "distributions",
        "tenant": "demo",
        "location": str(tmp_path),
        "limits": {"max_document_bytes": 100},
    }
    source = open_source(SourceDeclaration.parse(table, where="test"), Settings())
    with pytest.raises(PoisonDocument) as refused:
        source.read("large")
    assert refused.value.reason == Reason.TOO_LARGE


def test_a_folder_that_cannot_be_listed_gives_no_short_listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(path: object) -> None:
        raise PermissionError(13, "permission denied")

    monkeypatch.setattr(os, "scandir", failing)
    with pytest.raises(Unavailable, match="listing stopped"):
        list(installed(tmp_path).list())


def test_more_distributions_than_allowed_say_what_to_do(tmp_path: Path) -> None:
    for name in ("one", "two"):
        install(tmp_path, name)
    table = {
        "name": "packages",
        "kind": "distributions",
        "tenant": "demo",
        "location": str(tmp_path),
        "limits": {"max_documents": 1},
    }
    with pytest.raises(Misconfigured, match="more than 1 documents"):
        list(open_source(SourceDeclaration.parse(table, where="test"), Settings()).list())


def test_the_names_are_the_canonical_names_of_all_packages(tmp_path: Path) -> None:
    install(tmp_path, "Flask_SQLAlchemy")
    assert [(name.type, name.name) for name in installed(tmp_path).names()] == [
        (EntityType.PACKAGE, "flask-sqlalchemy")
    ]
