"""Fusion, the spread over documents, and snippets: pure."""

from __future__ import annotations

import unicodedata
from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concordance import ids
from concordance.model import DocumentRow, ScoredPoint
from concordance.retrieval.fusion import fuse, scaled
from concordance.retrieval.ranking import RankedChunk
from concordance.retrieval.search import spread
from concordance.retrieval.snippet import plain, snippet


def chunk(number: int) -> UUID:
    return uuid5(ids.NAMESPACE, f"chunk {number}")


def ranked(number: int, *, document: int) -> RankedChunk:
    row = DocumentRow(chunk(document), "acme", "manuals", "a.md", 1, None, "", ("public",))
    point = ScoredPoint(0.0, chunk(number), row.document_id, 1, 0, "acme", "manuals", "a.md", None, (), "", ("public",))
    return RankedChunk(chunk(number), row.document_id, 1 - number / 10, point, row)


A, B, C, D = (chunk(number) for number in range(4))


def test_each_list_is_scaled_by_itself_so_that_neither_unit_wins() -> None:
    ranking = dict(fuse({A: 0.9, B: 0.5, C: 0.1}, {A: 1.0, B: 26.0, D: 6.0}, dense_weight=0.5))
    assert ranking == {A: 0.5, B: pytest.approx(0.75), C: 0.0, D: pytest.approx(0.1)}


def test_the_weight_moves_the_answer_from_the_words_to_the_meaning() -> None:
    dense, sparse = {A: 0.9, B: 0.1}, {B: 9.0, A: 1.0}
    assert fuse(dense, sparse, dense_weight=0.8)[0][0] == A
    assert fuse(dense, sparse, dense_weight=0.2)[0][0] == B


def test_a_query_without_terms_leaves_the_meaning_its_full_weight() -> None:
    assert fuse({A: 0.9, B: 0.1}, {}, dense_weight=0.5) == [(A, 1.0), (B, 0.0)]
    assert fuse({}, {A: 9.0, B: 1.0}, dense_weight=0.5) == [(A, 1.0), (B, 0.0)]
    assert fuse({}, {}, dense_weight=0.5) == []


def test_scores_that_do_not_differ_are_all_the_best() -> None:
    assert scaled({A: -3.0, B: -3.0}) == {A: 1.0, B: 1.0}


scores = st.dictionaries(st.integers(0, 30).map(chunk), st.floats(-1e6, 1e6), max_size=20)


@given(dense=scores, sparse=scores, weight=st.floats(0, 1))
def test_fused_scores_are_in_0_to_1_best_first_and_do_not_depend_on_the_order_of_the_lists(
    dense: dict[UUID, float], sparse: dict[UUID, float], weight: float
) -> None:
    ranking = fuse(dense, sparse, dense_weight=weight)
    assert [score for _, score in ranking] == sorted((score for _, score in ranking), reverse=True)
    assert all(0 <= score <= 1 + 1e-9 for _, score in ranking)
    assert {chunk_id for chunk_id, _ in ranking} == dense.keys() | sparse.keys()
    turned = (dict(reversed(dense.items())), dict(reversed(sparse.items())))
    assert ranking == fuse(*turned, dense_weight=weight)


def test_one_document_does_not_fill_the_answer_while_others_have_something_to_say() -> None:
    ranking = [ranked(number, document=100 if number < 4 else number) for number in range(6)]
    chosen = spread(ranking, limit=4, per_document=2)
    assert [one.chunk_id for one in chosen] == [chunk(0), chunk(1), chunk(4), chunk(5)]


def test_where_no_other_document_is_found_one_may_fill_the_answer() -> None:
    ranking = [ranked(number, document=100) for number in range(6)]
    assert spread(ranking, limit=4, per_document=2) == ranking[:4]


def test_a_short_body_is_its_own_snippet() -> None:
    assert snippet("The lease ends.", "lease", max_characters=100) == "The lease ends."


def test_the_snippet_is_the_passage_that_holds_most_of_the_querys_words() -> None:
    filler = "Nothing of interest stands in this sentence. " * 20
    body = f"{filler}The lease is short. {filler}Leases carry fencing tokens. {filler}"
    found = snippet(body, "Which fencing token does a lease carry?", max_characters=80)
    assert "Leases carry fencing tokens." in found
    assert found.startswith("… ")
    assert found.endswith(" …")
    assert len(found) <= 80


def test_an_identifier_is_found_by_its_words() -> None:
    body = "Padding words come first. " * 20 + "Call read_csv to read a file. " + "Padding words come last. " * 20
    assert "read_csv" in snippet(body, "read csv", max_characters=60)


def test_a_query_that_the_chunk_does_not_hold_shows_its_beginning() -> None:
    found = snippet("First words of it. " + "More. " * 100, "absent", max_characters=60)
    assert found.startswith("First words of it.")


def test_markdown_marks_are_not_shown() -> None:
    lines = [
        "## Install",
        "",
        "> Use **pip** or [uv](https://example.org/uv):",
        "",
        "```bash",
        "pip install httpx",
        "```",
    ]
    body = "\n".join([*lines, "| a | b |", "|---|---|", "- one"])
    assert plain(body) == "Install Use pip or uv: pip install httpx a b one"


def test_identifiers_keep_their_underscores() -> None:
    assert plain("`read_csv(sep=None)` reads __init__.py") == "read_csv(sep=None) reads __init__.py"


def test_characters_that_steer_a_terminal_or_the_writing_direction_are_not_shown() -> None:
    assert plain("safe\x1b[31m red \u202egnp.exe\u2066 \x07\x9b2J") == "safe [31m red gnp.exe 2J"


@given(body=st.text(max_size=2000), query=st.text(max_size=50), limit=st.integers(40, 400))
def test_a_snippet_is_bounded_printable_and_on_one_line(body: str, query: str, limit: int) -> None:
    found = snippet(body, query, max_characters=limit)
    assert len(found) <= limit
    assert not any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in found)


def test_a_word_longer_than_the_snippet_is_cut() -> None:
    assert len(snippet("x" * 100_000, "x" * 100_000, max_characters=100)) <= 100
