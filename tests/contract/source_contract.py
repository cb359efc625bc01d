"""What every kind of source promises. A kind's test file subclasses `SourceContract` and gives the fixture `shelf`.

The shelf is a source with a way to change what it holds: `put(name, text)` writes a document and gives its uri,
`remove(uri)` deletes it, `open()` gives the source anew, as the next task would open it, `close()` takes the whole
location away. Names are short ASCII words, with a slash where the kind's uris are paths.
"""

from __future__ import annotations

import unicodedata
from typing import Protocol

import pytest

from concordance.errors import Misconfigured, PoisonDocument
from concordance.model import Listed, RawDocument, Reason
from concordance.sources.port import Source


class Shelf(Protocol):
    def open(self) -> Source: ...

    def put(self, name: str, text: str) -> str: ...

    def remove(self, uri: str) -> None: ...

    def close(self) -> None: ...


def listing(source: Source, subpath: str = "") -> dict[str, Listed]:
    """The listing by uri; a uri that comes twice fails."""
    found = list(source.list(subpath))
    by_uri = {listed.uri: listed for listed in found}
    assert len(by_uri) == len(found), "a uri was listed twice"
    return by_uri


class ListingContract:
    def test_every_document_is_listed_once(self, shelf: Shelf) -> None:
        uris = {shelf.put(name, "text") for name in ("one", "two", "three")}
        assert set(listing(shelf.open())) == uris

    def test_a_source_without_documents_lists_none(self, shelf: Shelf) -> None:
        assert listing(shelf.open()) == {}

    def test_two_listings_of_the_same_documents_are_equal(self, shelf: Shelf) -> None:
        for name in ("one", "two"):
            shelf.put(name, "text")
        assert listing(shelf.open()) == listing(shelf.open())

    def test_a_changed_document_changes_its_stamp_and_no_other(self, shelf: Shelf) -> None:
        one, two = shelf.put("one", "before"), shelf.put("two", "before")
        before = listing(shelf.open())
        shelf.put("one", "something longer afterwards")
        after = listing(shelf.open())
        assert after[one].stamp != before[one].stamp
        assert after[two] == before[two]

    def test_a_removed_document_is_no_longer_listed(self, shelf: Shelf) -> None:
        one, two = shelf.put("one", "text"), shelf.put("two", "text")
        source = shelf.open()
        assert one in listing(source)
        shelf.remove(one)
        assert set(listing(source)) == {two}

    def test_uris_are_composed_unicode_without_surrounding_slashes(self, shelf: Shelf) -> None:
        shelf.put("one", "text")
        for uri in listing(shelf.open()):
            assert uri == unicodedata.normalize("NFC", uri).strip("/")

    def test_a_location_that_is_not_there_is_an_error_and_no_empty_listing(self, shelf: Shelf) -> None:
        shelf.put("one", "text")
        shelf.close()
        with pytest.raises(Misconfigured, match="location"):
            list(shelf.open().list())


class SubpathContract:
    def test_a_subpath_lists_a_part_of_the_whole_with_the_same_lines(self, shelf: Shelf) -> None:
        for name in ("alpha", "beta"):
            shelf.put(name, "text")
        whole = listing(shelf.open())
        for uri in whole:
            assert listing(shelf.open(), uri) == {uri: whole[uri]}

    def test_a_subpath_is_not_a_prefix_of_names(self, shelf: Shelf) -> None:
        short, long = shelf.put("alpha", "text"), shelf.put("alphabet", "text")
        assert set(listing(shelf.open(), short)) == {short}
        assert set(listing(shelf.open(), long)) == {long}

    def test_a_subpath_where_nothing_lies_lists_nothing(self, shelf: Shelf) -> None:
        shelf.put("one", "text")
        assert listing(shelf.open(), "nowhere/at/all") == {}

    @pytest.mark.parametrize("subpath", ["../outside", "a/../b", "a//b", "./a", "x" * 5000])
    def test_a_subpath_that_could_leave_the_source_is_refused(self, shelf: Shelf, subpath: str) -> None:
        with pytest.raises(Misconfigured, match="sub-path"):
            list(shelf.open().list(subpath))


class ReadingContract:
    def test_what_is_read_has_the_stamp_of_its_listing_or_none(self, shelf: Shelf) -> None:
        uri = shelf.put("one", "as it was listed")
        source = shelf.open()
        before = listing(source)[uri].stamp
        assert source.read(uri).stamp in (None, before)
        shelf.put("one", "as it was read, and longer")
        assert source.read(uri).stamp in (None, listing(shelf.open())[uri].stamp)

    def test_every_listed_document_reads_or_is_refused_with_a_reason(self, shelf: Shelf) -> None:
        for name in ("one", "two", "three"):
            shelf.put(name, f"this is {name}")
        source = shelf.open()
        for uri in listing(source):
            try:
                raw = source.read(uri)
            except PoisonDocument as error:
                reason = error.reason
            else:
                reason = None
                assert raw.uri == uri
                assert raw.content
            assert reason is None or reason in set(Reason)

    def test_a_document_is_read_as_it_was_written(self, shelf: Shelf) -> None:
        uri = shelf.put("one", "Grüße, 世界 \N{MUSICAL SYMBOL G CLEF}\n")
        assert "Grüße, 世界 \N{MUSICAL SYMBOL G CLEF}" in shelf.open().read(uri).content.decode()

    def test_reading_twice_gives_the_same_document(self, shelf: Shelf) -> None:
        uri = shelf.put("one", "text")
        first: RawDocument = shelf.open().read(uri)
        assert shelf.open().read(uri) == first

    def test_a_document_can_be_read_without_a_listing_before(self, shelf: Shelf) -> None:
        uri = shelf.put("one", "the text")
        assert b"the text" in shelf.open().read(uri).content

    def test_what_changed_since_the_listing_reads_as_it_is_now(self, shelf: Shelf) -> None:
        uri = shelf.put("one", "before")
        source = shelf.open()
        listing(source)
        shelf.put("one", "afterwards")
        assert b"afterwards" in source.read(uri).content

    def test_a_document_that_is_gone_is_refused_and_not_an_outage(self, shelf: Shelf) -> None:
        uri = shelf.put("one", "text")
        shelf.put("two", "text")
        source = shelf.open()
        listing(source)
        shelf.remove(uri)
        with pytest.raises(PoisonDocument) as refused:
            source.read(uri)
        assert refused.value.reason == Reason.UNREADABLE

    @pytest.mark.parametrize("uri", ["../outside", "/etc/passwd", "", "never/listed", "a\x00b"])
    def test_a_uri_that_no_listing_gives_is_refused(self, shelf: Shelf, uri: str) -> None:
        shelf.put("one", "text")
        with pytest.raises(PoisonDocument) as refused:
            shelf.open().read(uri)
        assert refused.value.reason == Reason.UNREADABLE


class NamesContract:
    def test_names_are_usable_and_come_once(self, shelf: Shelf) -> None:
        shelf.put("one", "text")
        names = list(shelf.open().names())
        assert len({name.key("tenant") for name in names}) == len(names)
        assert all(name.name.strip() for name in names)

    def test_declared_names_are_among_them(self, shelf: Shelf) -> None:
        source = shelf.open()
        assert set(source.declaration.declared_names()) <= set(source.names())


class SourceContract(ListingContract, SubpathContract, ReadingContract, NamesContract):
    """All of it."""
