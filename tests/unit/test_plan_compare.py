"""The plan's core: every listed and every known document is decided exactly once, and nothing else is touched."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from concordance import ids
from concordance.ledger.plans import Known, KnownDocument, QuarantinedDocument
from concordance.model import Action, Listed, PlanEntry
from concordance.pipeline.compare import Comparison, compare, cut_into_shards, only

URIS = st.sampled_from([f"doc{number}" for number in range(8)])
STAMPS = st.sampled_from(["s1", "s2"])
ACCESS = ("public",)


def document(uri: str) -> UUID:
    return ids.document_id(tenant="acme", source="shelf", uri=uri)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[dict[str, str], Known]:
    listing = draw(st.dictionaries(URIS, STAMPS))
    current = draw(st.dictionaries(URIS, STAMPS))
    quarantined = draw(st.dictionaries(URIS, st.tuples(STAMPS, st.sampled_from(["now", "before"]))))
    return listing, Known(
        documents={
            uri: KnownDocument(document(uri), uri, 3, stamp, "fingerprint", ACCESS) for uri, stamp in current.items()
        },
        quarantined={
            uri: QuarantinedDocument(document(uri), uri, stamp, under, "parser_failed")
            for uri, (stamp, under) in quarantined.items()
        },
    )


def compared(
    listing: dict[str, str],
    known: Known,
    *,
    read_all: bool = False,
    access: tuple[str, ...] = ACCESS,
    replayed: frozenset[UUID] = frozenset(),
) -> Comparison:
    return compare(
        [Listed(uri, stamp, 100) for uri, stamp in listing.items()],
        known,
        tenant="acme",
        source="shelf",
        access=access,
        rejected_under="now",
        read_all=read_all,
        replayed=replayed,
    )


@given(worlds(), st.booleans())
def test_every_document_is_decided_exactly_once(world: tuple[dict[str, str], Known], read_all: bool) -> None:
    listing, known = world
    result = compared(listing, known, read_all=read_all)
    touched = [entry.uri for entry in result.entries] + [doubtful.listed.uri for doubtful in result.doubtful]
    assert len(touched) == len(set(touched))
    deleted = {entry.uri for entry in result.entries if entry.action is Action.DELETE}
    # An empty listing may be a folder that is not mounted: it deletes nothing.
    assert deleted == (known.documents.keys() - listing.keys() if listing else set())
    assert result.is_of_nothing == (not listing and bool(known.documents))
    assert result.discovered == len(listing)
    assert len(touched) - len(deleted) + result.unchanged + result.still_quarantined == len(listing)


@given(worlds())
def test_only_what_was_never_current_is_added_and_its_base_is_none(world: tuple[dict[str, str], Known]) -> None:
    listing, known = world
    for entry in compared(listing, known).entries:
        assert (entry.base is None) == (entry.uri not in known.documents)
        assert (entry.action is Action.ADD) == (entry.base is None)


def test_an_unmoved_stamp_is_unchanged_without_reading() -> None:
    known = Known({"a": KnownDocument(document("a"), "a", 3, "s1", "f", ACCESS)}, {})
    result = compared({"a": "s1"}, known)
    assert (result.unchanged, result.doubtful, result.entries) == (1, (), ())


def test_a_moved_stamp_is_decided_by_reading() -> None:
    known = Known({"a": KnownDocument(document("a"), "a", 3, "s1", "f", ACCESS)}, {})
    assert [doubtful.known.generation for doubtful in compared({"a": "s2"}, known).doubtful] == [3]


def test_mode_full_reads_even_what_did_not_move() -> None:
    known = Known({"a": KnownDocument(document("a"), "a", 3, "s1", "f", ACCESS)}, {})
    assert len(compared({"a": "s1"}, known, read_all=True).doubtful) == 1


def test_other_access_labels_are_a_change_although_the_stamp_stands() -> None:
    known = Known({"a": KnownDocument(document("a"), "a", 3, "s1", "f", ACCESS)}, {})
    (entry,) = compared({"a": "s1"}, known, access=("staff",)).entries
    assert (entry.action, entry.base) == (Action.CHANGE, 3)


def test_an_unchanged_document_in_quarantine_is_not_tried_again_until_what_rejected_it_changes() -> None:
    def known(under: str) -> Known:
        return Known({}, {"a": QuarantinedDocument(document("a"), "a", "s1", under, "parser_failed")})

    assert compared({"a": "s1"}, known("now")).still_quarantined == 1
    assert len(compared({"a": "s1"}, known("before")).entries) == 1
    assert len(compared({"a": "s2"}, known("now")).entries) == 1
    assert compared({"b": "s1"}, known("now")).released == (document("a"),)
    assert compared({}, known("now")).released == ()


@given(st.lists(st.integers(0, 5000), max_size=60), st.integers(1, 4000), st.integers(1, 8))
def test_shards_cover_every_read_document_within_their_number(sizes: list[int], shard_bytes: int, most: int) -> None:
    entries = [
        PlanEntry(document(str(number)), f"{number:03}", Action.ADD, None, "s", size, None)
        for number, size in enumerate(sizes)
    ]
    gone = PlanEntry(document("gone"), "gone", Action.DELETE, 1, "s", 0, None)
    cut, shards = cut_into_shards([*entries, gone], shard_bytes=shard_bytes, max_shards=most)
    assert 1 <= shards <= most
    assert {entry.uri for entry in cut} == {entry.uri for entry in [*entries, gone]}
    assert all((entry.shard is None) == (entry.action is Action.DELETE) for entry in cut)
    assert all(0 <= entry.shard < shards for entry in cut if entry.shard is not None)
    assert (cut, shards) == cut_into_shards([gone, *reversed(entries)], shard_bytes=shard_bytes, max_shards=most)


def test_a_small_run_is_one_shard() -> None:
    entries = [PlanEntry(document("a"), "a", Action.ADD, None, "s", 9_999_999, None)]
    assert cut_into_shards(entries, shard_bytes=10_000_000, max_shards=32)[1] == 1


def test_what_could_not_be_read_is_read_again_under_the_same_stamp() -> None:
    refused = QuarantinedDocument(document("a"), "a", "s1", "now", "unreadable")
    result = compared({"a": "s1"}, Known({}, {"a": refused}))
    assert result.still_quarantined == 1
    assert [(entry.uri, entry.action) for entry in result.could_not_be_read] == [("a", Action.ADD)]
    assert result.entries == ()


def quarantined(uri: str, stamp: str = "s1", under: str = "now", **given: bool) -> QuarantinedDocument:
    return QuarantinedDocument(document(uri), uri, stamp, under, "parser_failed", **given)


def test_a_dismissed_document_is_tried_again_only_when_it_changes() -> None:
    known = Known({}, {"a": quarantined("a", under="before", is_dismissed=True)})
    assert compared({"a": "s1"}, known).still_quarantined == 1
    assert [entry.uri for entry in compared({"a": "s2"}, known).entries] == ["a"]
    unreadable = QuarantinedDocument(document("a"), "a", "s1", "now", "unreadable", is_dismissed=True)
    assert compared({"a": "s1"}, Known({}, {"a": unreadable})).could_not_be_read == ()


def test_a_document_that_is_back_at_its_current_state_leaves_the_quarantine() -> None:
    known = Known({"a": KnownDocument(document("a"), "a", 3, "s1", "f", ACCESS)}, {"a": quarantined("a", stamp="s2")})
    back = compared({"a": "s1"}, known)
    assert (back.unchanged, back.released) == (1, (document("a"),))
    (doubtful,) = compared({"a": "s3"}, known).doubtful
    assert doubtful.was_quarantined


def test_a_replay_takes_up_what_it_names_and_nothing_else() -> None:
    current = {uri: KnownDocument(document(uri), uri, 3, "s1", "f", ACCESS) for uri in ("edited", "gone", "bad")}
    known = Known(current, {"bad": quarantined("bad", stamp="s2"), "worse": quarantined("worse")})
    listing = {"edited": "s2", "bad": "s2", "worse": "s1", "new": "s1"}
    whole = compared(listing, known, replayed=frozenset([document("bad"), document("worse")]))
    result = only(whole, frozenset([document("bad"), document("worse")]))
    assert [entry.uri for entry in result.entries] == ["worse"]
    assert [doubtful.listed.uri for doubtful in result.doubtful] == ["bad"]
    assert result.discovered == 4
