"""Chunks of a document: header and path, token limits, coverage, and what an edit changes."""

from __future__ import annotations

import re
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concordance.chunking.splitter import Chunker
from concordance.chunking.tokens import load_tokenizer
from concordance.errors import Misconfigured, PoisonDocument
from concordance.model import Chunk, Reason
from support.chunking import (
    MAX_CHUNKS,
    WINDOW_TOKENS,
    bodies,
    chunker,
    cut,
    index_settings,
    markdown_of,
    paragraphs,
    sentence,
    tokenizer,
)


def exact(text: str) -> int:
    return len(tokenizer().encode(text).ids)


def fresh(before: list[Chunk], after: list[Chunk]) -> list[str]:
    known = {chunk.text for chunk in before}
    return [chunk.text for chunk in after if chunk.text not in known]


# --- header and path


def test_a_chunk_is_header_blank_line_body():
    (chunk,) = cut("# Install\n\n## Linux\n\nUse the package.", title="Manual")
    assert chunk.text == "Manual > Install > Linux\n\nUse the package."
    assert chunk.heading_path == ("Install", "Linux")
    assert chunk.token_count == exact(chunk.text)


def test_the_title_is_not_repeated_when_the_first_heading_is_the_title():
    (chunk,) = cut("# The  MANUAL\n\n## Linux\n\nUse it.", title="The Manual")
    assert chunk.heading_path == ("Linux",)
    assert chunk.text.startswith("The Manual > Linux\n\n")


def test_without_title_and_heading_the_header_is_empty_and_the_text_starts_with_the_blank_line():
    (chunk,) = cut("Only text.")
    assert chunk.text == "\n\nOnly text."
    assert chunk.text.partition("\n\n") == ("", "\n\n", "Only text.")


def test_a_long_header_drops_the_outer_headings_first_and_keeps_title_and_own_heading():
    outer = " ".join(["outermost"] * 30)
    middle = " ".join(["middle"] * 12)
    (chunk,) = cut(f"# {outer}\n\n## {middle}\n\n### Own\n\nText.", title="Title")
    header = chunk.text.partition("\n\n")[0]
    assert header == f"Title > {middle} > Own"
    assert chunk.heading_path == (outer, middle, "Own")


@pytest.mark.parametrize("limit", [0, 1, 7, 48])
def test_a_header_never_outgrows_its_limit(limit: int):
    limited = chunker(header_max_tokens=limit)
    title, heading = "word " * 40, " ".join(["heading"] * 35)
    for chunk in limited.chunks(f"# {heading}\n\ntext", title=title, max_chunks=MAX_CHUNKS):
        header = chunk.text.partition("\n\n")[0]
        assert len(tokenizer().encode(header, add_special_tokens=False).ids) <= limit


def test_a_title_with_line_breaks_stays_one_line():
    (chunk,) = cut("Text.", title="Two\nlines\n\nof title")
    assert chunk.text == "Two lines of title\n\nText."


# --- what becomes a chunk


def test_chunks_never_span_two_sections():
    chunks = cut("# A\nalpha\n# B\nbeta\n# C\ngamma")
    assert [(chunk.heading_path, body) for chunk, body in zip(chunks, bodies(chunks), strict=True)] == [
        (("A",), "alpha"),
        (("B",), "beta"),
        (("C",), "gamma"),
    ]
    assert [chunk.ordinal for chunk in chunks] == [0, 1, 2]


@pytest.mark.parametrize("markdown", ["", "\n\n\n", "# Only\n\n## Headings", "- [A](#a)\n- [B](#b)", "*** --- !!!"])
def test_a_document_that_says_nothing_has_no_chunks(markdown: str):
    assert cut(markdown, title="Title") == []


def test_code_keeps_its_lines_and_indentation():
    markdown = "```python\ndef f():\n    return 1\n```"
    assert bodies(cut(markdown)) == [markdown]


def test_a_long_table_is_cut_between_its_rows():
    rows = [f"| row {number} | the value of row {number} |" for number in range(120)]
    chunks = cut("| name | value |\n| --- | --- |\n" + "\n".join(rows))
    lines = [line for body in bodies(chunks) for line in body.split("\n")]
    assert lines[2:] == rows
    assert len(chunks) > 3


def test_control_characters_and_lone_surrogates_never_reach_a_chunk():
    (chunk,) = cut("a\x00b \ud800 c\r\nd\u2028e", title="t\x00\ud800")
    assert chunk.text == "t��\n\na�b � c\nd\ne"
    chunk.text.encode()


# --- limits


def test_more_chunks_than_allowed_put_the_document_into_quarantine():
    markdown = markdown_of(paragraphs(Random(1), count=60))
    count = len(cut(markdown))
    assert len(cut(markdown, max_chunks=count)) == count
    with pytest.raises(PoisonDocument, match="max_chunks_per_document") as caught:
        cut(markdown, max_chunks=count - 1)
    assert caught.value.reason == Reason.TOO_MANY_CHUNKS


def test_a_header_that_leaves_no_room_in_the_window_is_refused():
    with pytest.raises(Misconfigured, match="header_max_tokens"):
        Chunker(index_settings(header_max_tokens=48, window_tokens=64), tokenizer())


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(Misconfigured, match="model_dir"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(Misconfigured, match="is not a tokenizer"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("window", [40, 64, 128])
def test_a_small_window_is_kept(window: int):
    small = chunker(chunk_min_tokens=16, chunk_max_tokens=200, header_max_tokens=12, window_tokens=window)
    markdown = "# Heading\n\n" + markdown_of(paragraphs(Random(3), count=20)) + "\n\n" + "x" * 5_000
    chunks = small.chunks(markdown, title="Title", max_chunks=MAX_CHUNKS)
    assert chunks
    assert all(exact(chunk.text) == chunk.token_count <= window for chunk in chunks)


def test_pieces_of_a_long_section_are_about_as_long_as_the_settings_say():
    chunks = cut(markdown_of(paragraphs(Random(5), count=200)))
    average = sum(chunk.token_count for chunk in chunks) / len(chunks)
    assert 90 <= average <= 150
    assert max(chunk.token_count for chunk in chunks) <= 202


# --- edits

LONG = 65  # paragraphs of one section, which make about 30 chunks


def test_one_sentence_edited_in_thirty_chunks_without_a_heading_changes_at_most_three():
    rng = Random(11)
    written = paragraphs(rng, count=LONG)
    before = cut(markdown_of(written), title="Title")
    assert 25 <= len(before) <= 40
    places = [(number, place) for number, paragraph in enumerate(written) for place in range(len(paragraph))]
    for number, place in places[::3]:
        edited = [list(sentences) for sentences in written]
        edited[number][place] = sentence(rng)
        assert 1 <= len(fresh(before, cut(markdown_of(edited), title="Title"))) <= 3


def test_a_paragraph_inserted_at_the_front_changes_at_most_three():
    for seed in range(20):
        rng = Random(seed)
        written = paragraphs(rng, count=LONG)
        before = cut(markdown_of(written))
        after = cut(markdown_of([[sentence(rng), sentence(rng)], *written]))
        assert len(fresh(before, after)) <= 3


def test_a_row_inserted_into_a_long_code_block_changes_at_most_three():
    lines = [f"value_{number} = compute({number * 37 % 101}, key='k{number}')" for number in range(200)]
    before = cut("```\n" + "\n".join(lines) + "\n```")
    assert len(before) > 20
    for place in range(0, 200, 17):
        edited = [*lines[:place], "inserted = True", *lines[place:]]
        assert len(fresh(before, cut("```\n" + "\n".join(edited) + "\n```"))) <= 3


def test_a_word_edited_in_one_endless_line_changes_at_most_three():
    rng = Random(2)
    words = " ".join(sentence(rng)[:-1].lower() for _ in range(250)).split()
    before = cut(" ".join(words))
    assert len(before) > 20
    for place in range(0, len(words), 101):
        edited = [*words[:place], "edited", *words[place + 1 :]]
        assert len(fresh(before, cut(" ".join(edited)))) <= 3


def test_an_edit_in_one_section_leaves_every_other_section_alone():
    rng = Random(7)
    parts = [f"# Section {number}\n\n{markdown_of(paragraphs(rng, count=4))}" for number in range(12)]
    before = cut("\n\n".join(parts))
    parts[5] = f"# Section 5\n\n{sentence(rng)}"
    after = cut("\n\n".join(parts))
    assert {chunk.heading_path for chunk in after if chunk.text in fresh(before, after)} == {("Section 5",)}


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.sampled_from(["edit", "insert", "delete", "front"]))
def test_chunks_find_back_into_step_after_a_random_edit(seed: int, kind: str):
    rng = Random(seed)
    written = paragraphs(rng, count=LONG)
    before = cut(markdown_of(written))
    edited = [list(sentences) for sentences in written]
    number = rng.randrange(len(edited))
    place = rng.randrange(len(edited[number]))
    if kind == "edit":
        edited[number][place] = sentence(rng)
    elif kind == "insert":
        edited[number].insert(place, sentence(rng))
    elif kind == "delete":
        del edited[number][place]
    else:
        edited.insert(0, [sentence(rng)])
    # Three is what 99.9 % of the edits keep to, whatever the seed five.
    assert len(fresh(before, cut(markdown_of(edited)))) <= 5


# --- properties of any text

words = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=12)
plain_words = st.from_regex(r"[A-Za-zäöüß0-9]{1,14}", fullmatch=True)
lines = st.one_of(
    st.lists(plain_words, min_size=1, max_size=40).map(" ".join),
    st.lists(plain_words, min_size=1, max_size=5).map(lambda found: "# " + " ".join(found)),
    st.lists(plain_words, min_size=1, max_size=9).map(lambda found: "- " + ". ".join(found)),
    st.sampled_from(["", "```", "~~~", "---", "===", "> quote it", "| a | b |", "    indented", "<!-- x -->"]),
)


@settings(max_examples=80)
@given(st.lists(lines, max_size=60).map("\n".join), st.one_of(st.none(), words))
def test_every_word_of_the_content_is_in_some_chunk_or_its_path(markdown: str, title: str | None):
    chunks = cut(markdown, title=title)
    shown = " ".join(part for chunk in chunks for part in (chunk.text, *chunk.heading_path))
    found = set(re.findall(r"[^\W_]+", shown))
    for paragraph in re.split(r"\n(?:[ \t]*\n)*", markdown):
        # A heading without text, a rule and a comment say nothing of their own.
        if paragraph.startswith(("#", "<!--")) or _is_followed_by_underline(markdown, paragraph):
            continue
        assert set(re.findall(r"[^\W_]+", paragraph)) <= found


def _is_followed_by_underline(markdown: str, line: str) -> bool:
    """Whether the line may be (part of) an underlined heading, whose section may be empty."""
    return bool(re.search(rf"(?m)^{re.escape(line)}\n(?:[^\n]+\n){{0,3}}(?:---|===)$", markdown))


@settings(max_examples=60)
@given(st.text(max_size=3_000), st.one_of(st.none(), st.text(max_size=200)))
def test_any_text_gives_valid_chunks_and_the_same_ones_each_time(markdown: str, title: str | None):
    chunks = cut(markdown, title=title)
    assert chunks == Chunker(index_settings(), tokenizer()).chunks(markdown, title=title, max_chunks=MAX_CHUNKS)
    for ordinal, chunk in enumerate(chunks):
        header, separator, body = chunk.text.partition("\n\n")
        assert chunk.ordinal == ordinal
        assert chunk.token_count == exact(chunk.text) <= WINDOW_TOKENS
        assert separator
        assert "\n" not in header
        assert body == body.strip()
        assert re.search(r"[^\W_]", body)
        assert "\x00" not in chunk.text
        chunk.text.encode()
