"""The sources file: what is declared, and what a mistake in it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from concordance.errors import Misconfigured
from concordance.model import Entity, EntityType
from concordance.settings import Settings
from concordance.sources.declaration import SourceDeclaration, Trust, load_declarations
from concordance.sources.kinds import KINDS, open_source

MINIMAL = '[[source]]\nname = "docs"\nkind = "files"\ntenant = "demo"\nlocation = "docs"\n'


def load(tmp_path: Path, text: str) -> dict[str, SourceDeclaration]:
    path = tmp_path / "sources.toml"
    path.write_text(text, encoding="utf-8")
    return load_declarations(Settings(sources_file=path))


def test_the_project_declares_its_demo_sources() -> None:
    declarations = load_declarations(Settings())
    assert set(declarations) == {"distributions", "handbook"}
    for declaration in declarations.values():
        assert list(open_source(declaration, Settings()).list())


def test_a_minimal_declaration_is_public_third_party_and_not_scheduled(tmp_path: Path) -> None:
    docs = load(tmp_path, MINIMAL)["docs"]
    assert docs.access == ("public",)
    assert docs.trust is Trust.THIRD_PARTY
    assert not docs.schedule
    assert docs.glob == ("**/*",)


def test_access_labels_are_a_set_whatever_their_order(tmp_path: Path) -> None:
    docs = load(tmp_path, MINIMAL + 'access = ["staff", "board", "staff"]\n')["docs"]
    assert docs.access == ("board", "staff")


def test_a_source_can_lower_a_limit_and_never_raise_it(tmp_path: Path) -> None:
    docs = load(tmp_path, MINIMAL + "limits = { max_documents = 5, max_document_bytes = 1_000_000_000 }\n")["docs"]
    settings = Settings(max_document_bytes=1000)
    assert docs.max_documents(settings) == 5
    assert docs.max_document_bytes(settings) == 1000


def test_declared_names_become_entities(tmp_path: Path) -> None:
    docs = load(tmp_path, MINIMAL + '[[source.names]]\ntype = "term"\nname = "fencing token"\n')["docs"]
    assert docs.declared_names() == (Entity(EntityType.TERM, "fencing token"),)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (MINIMAL + "colour = 1\n", r"source 'docs': unknown key 'colour'; allowed: access, glob, kind"),
        (MINIMAL + "[source.limits]\nmax_pages = 1\n", r"unknown key 'limits.max_pages'; allowed: max_document_bytes"),
        (MINIMAL + "[source.options]\nfollow = 1\n", r"options of kind 'files': unknown key 'follow'; allowed: hidden"),
        (MINIMAL + MINIMAL, r"source 'docs': key name: another source has this name"),
        (MINIMAL.replace("files", "ftp"), r"key kind = 'ftp': allowed: distributions, files"),
        (MINIMAL.replace('"demo"', '"Demo Ltd"'), r"key tenant = 'Demo Ltd': allowed: 1 to 63 lower-case"),
        (MINIMAL.replace('"docs"\nkind', '"do\\ncs"\nkind'), r"key name = .*allowed: 1 to 63 lower-case"),
        (MINIMAL.replace('tenant = "demo"\n', ""), r"key 'tenant' is missing"),
        (MINIMAL + "access = []\n", r"key access.*at least 1 item"),
        (MINIMAL + "limits = { max_documents = 0 }\n", r"key limits.max_documents = 0: .*greater than or equal to 1"),
        (MINIMAL + 'trust = "full"\n', r"key trust = 'full': Input should be 'own' or 'third_party'"),
        ("name = 1\n", r"unknown key 'name'; allowed at the top"),
        ("[source]\nname = 1\n", r"write each source as a \[\[source\]\] table"),
        ("[[source]\n", r"is not valid TOML"),
        ("[[source]]\nkind = 5\n", r"source number 1: key 'name' is missing"),
    ],
)
def test_a_mistake_names_the_file_the_source_the_key_and_what_is_allowed(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(Misconfigured, match=says) as error:
        load(tmp_path, text)
    assert str(tmp_path / "sources.toml") in str(error.value)


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as error:
        load(tmp_path, MINIMAL + "colour = 1\n" + MINIMAL.replace("docs", "more") + "shade = 2\n")
    assert "colour" in str(error.value)
    assert "shade" in str(error.value)


def test_a_missing_sources_file_says_which_setting_names_it(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="sources_file"):
        load_declarations(Settings(sources_file=tmp_path / "nowhere.toml"))


def test_a_password_in_a_location_is_refused_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="carries no user or password") as error:
        load(tmp_path, MINIMAL.replace('location = "docs"', 'location = "ftp://me:hunter2@h/x"'))
    assert "hunter2" not in str(error.value)


def test_a_secret_among_the_storage_options_is_refused_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="looks like a secret") as error:
        load(tmp_path, MINIMAL + 'options = { storage = { secret_key = "hunter2" } }\n')
    assert "hunter2" not in str(error.value)


def test_a_protocol_that_is_not_installed_says_so_when_the_source_is_opened(tmp_path: Path) -> None:
    docs = load(tmp_path, MINIMAL.replace('location = "docs"', 'location = "nosuch://bucket/folder"'))["docs"]
    with pytest.raises(Misconfigured, match="check its protocol"):
        open_source(docs, Settings())


def test_a_source_of_files_without_a_location_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    docs = load(tmp_path, MINIMAL.replace('location = "docs"\n', ""))["docs"]
    with pytest.raises(Misconfigured, match="needs a location"):
        open_source(docs, Settings())


def test_every_kind_names_a_class_that_is_there() -> None:
    for kind in KINDS:
        assert re.fullmatch(r"[a-z]+", kind)
        table = {"name": "x", "kind": kind, "tenant": "demo", "location": "."}
        assert open_source(SourceDeclaration.parse(table, where="test"), Settings()).declaration.kind == kind
