"""Sub-paths and the uris of file names: properties of the pure modules."""

from __future__ import annotations

import os
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from concordance.sources.names import by_uri_name, uri_name
from concordance.sources.subpath import is_below, normalise_subpath

PARTS = st.text(st.characters(exclude_characters="/\x00", exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda part: part not in (".", "..")
)
URIS = st.lists(PARTS, min_size=1, max_size=4).map("/".join).map(lambda uri: unicodedata.normalize("NFC", uri))


@given(URIS)
def test_a_uri_lies_below_itself_its_folders_and_the_whole_source(uri: str) -> None:
    parts = uri.split("/")
    assert all(is_below(uri, "/".join(parts[:count])) for count in range(len(parts) + 1))


@given(URIS, PARTS)
def test_a_longer_name_lies_below_no_shorter_one(uri: str, more: str) -> None:
    assert not is_below(unicodedata.normalize("NFC", uri + "x" + more), uri)


@given(URIS)
def test_the_canonical_spelling_is_its_own(uri: str) -> None:
    canonical = normalise_subpath(uri)
    assert normalise_subpath(f"/{canonical}/") == canonical


@given(st.lists(st.binary(min_size=1, max_size=6).filter(lambda name: b"/" not in name and b"\x00" not in name)))
def test_every_name_of_a_folder_gives_one_uri_that_can_be_stored(raw: list[bytes]) -> None:
    names = [os.fsdecode(name) for name in raw]
    chosen = by_uri_name(names)
    assert set(chosen) == {uri_name(name) for name in names}
    for uri, name in chosen.items():
        assert uri.encode()
        assert uri_name(name) == uri
    assert by_uri_name(reversed(names)) == chosen
