"""Which names link, where, and how the gazetteer is frozen."""

from __future__ import annotations

import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concordance import ids
from concordance.chunking.entities import Gazetteer
from concordance.errors import Corrupt, Misconfigured
from concordance.model import Chunk, Entity, EntityType, Mention

MAX_NAMES = 1_000


def package(name: str) -> Entity:
    return Entity(EntityType.PACKAGE, name)


def gazetteer(*entities: Entity | str) -> Gazetteer:
    return Gazetteer.build((package(e) if isinstance(e, str) else e for e in entities), max_names=MAX_NAMES)


def found(text: str, *entities: Entity | str) -> dict[str, int]:
    return {mention.entity.name: mention.count for mention in gazetteer(*entities).mentions(text)}


# --- what becomes a name


@pytest.mark.parametrize("name", ["", "  ", "go", "R", "7z", "123", "3.11", "---", "the", "any", "\u200b", "x" * 600])
def test_a_name_that_would_match_everywhere_or_nowhere_is_left_out(name: str):
    assert gazetteer(name).names == ()


def test_more_names_than_allowed_are_refused():
    names = [package(f"name-{number}") for number in range(11)]
    assert len(Gazetteer.build(names[:10], max_names=10).names) == 10
    with pytest.raises(Misconfigured, match="max_gazetteer_names"):
        Gazetteer.build(names, max_names=10)


def test_two_spellings_of_one_name_are_one_entity():
    both = gazetteer("PyYAML", "pyyaml", "ｐｙｙａｍｌ")
    assert [name.entity.name for name in both.names] == ["PyYAML"]


def test_the_order_and_repetition_of_the_names_make_no_difference():
    entities = [package(f"name-{number}") for number in range(50)] + [Entity(EntityType.LICENCE, "Apache-2.0")]
    shuffled = [*entities, *entities]
    Random(4).shuffle(shuffled)
    assert gazetteer(*entities) == gazetteer(*shuffled)
    assert gazetteer(*entities).digest == gazetteer(*shuffled).digest


def test_a_frozen_gazetteer_is_read_back_as_it_was():
    built = gazetteer("numpy", "click", Entity(EntityType.PERSON, "Ada Lovelace"))
    stored = json.loads(json.dumps(built.as_json()))
    read = Gazetteer.from_json(stored)
    assert read == built
    assert read.digest == built.digest


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"revision": 99, "names": []},
        {"revision": 1, "names": [["no type", "x", True]]},
        {"revision": 1, "names": [1]},
    ],
)
def test_a_stored_gazetteer_of_another_shape_is_corrupt(stored: dict[str, object]):
    with pytest.raises(Corrupt, match="new index version"):
        Gazetteer.from_json(stored)


def test_an_empty_gazetteer_mentions_nothing():
    assert gazetteer().mentions("numpy") == ()


# --- where a name is mentioned


def test_mentions_are_counted_and_sorted():
    assert gazetteer("numpy", "pandas", "scipy").mentions("pandas and NumPy: numpy, PANDAS, numpy.") == (
        Mention(package("numpy"), 3),
        Mention(package("pandas"), 2),
    )


@pytest.mark.parametrize(
    "text",
    [
        "NumPy",
        "ＮｕｍＰｙ",
        "num\u200bpy",
        "n\u00adumpy",
        "numру",
        "NUMPY",
        "`numpy`",
        "(numpy)",
        "numpy.array",
        "numpy-like",
    ],
)
def test_case_width_invisible_and_lookalike_characters_make_no_difference(text: str):
    assert found(f"with {text} here", "numpy") == {"numpy": 1}


def test_every_spelling_of_a_name_has_one_key():
    spellings = ("pandas", "PANDAS", "pаndas", "pan\u200bdas", "ｐａｎｄａｓ", " pandas ")
    assert len({package(spelling).key("demo") for spelling in spellings}) == 1


def test_a_name_in_its_own_script_is_not_read_as_latin():
    assert ids.normalise_name("Москва") == "москва"
    assert ids.normalise_name("сор") != ids.normalise_name("cop")


@pytest.mark.parametrize("text", ["numpydoc", "my_numpy", "numpy2", "types-numpy", "numpy-stubs", "@numpy", "x.numpy"])
def test_a_part_of_a_longer_name_is_no_mention(text: str):
    assert found(f"with {text} here", "numpy") == {}


def test_the_longest_of_overlapping_names_counts():
    text = "requests-oauthlib, data science and data."
    assert found(text, "requests-oauthlib", "oauthlib", "data science", "data scientist") == {
        "requests-oauthlib": 1,
        "data science": 1,
    }


def test_a_longer_name_that_does_not_fit_hides_no_shorter_one():
    assert found("numpy arrays", "numpy", "numpy array") == {"numpy": 1}


@pytest.mark.parametrize("text", ["typing_extensions", "typing.extensions", "Typing-Extensions"])
def test_dashes_underscores_and_dots_of_a_package_are_one(text: str):
    assert found(f"needs {text} too", "typing-extensions") == {"typing-extensions": 1}


def test_a_name_over_a_line_break_is_found():
    assert found("the work of Ada\n  Lovelace here", Entity(EntityType.PERSON, "Ada Lovelace")) == {"Ada Lovelace": 1}


def test_a_spelling_that_two_types_share_is_of_the_first_type():
    shared = gazetteer(Entity(EntityType.KEYWORD, "pandas"), package("pandas"))
    assert shared.mentions("pandas") == (Mention(package("pandas"), 1),)


# --- names that are words


@pytest.mark.parametrize(
    "text",
    [
        "`click`",
        "``click``",
        "`click.echo()`",
        "import click",
        "from click import echo",
        "from click.testing import CliRunner",
        "pip install click",
        "pip install -U click",
        "uv add 'click'",
        "click>=8.1",
        "click == 8",
        "click[extra]",
        "call click.echo('x')",
        "built on [Click](https://example.org)",
    ],
)
def test_a_common_word_is_a_name_where_the_text_shows_it(text: str):
    assert found(text, "click") == {"click": 1}


@pytest.mark.parametrize(
    "text",
    [
        "click the button",
        "Click here.",
        "double click",
        "from click to screen",
        "[click here](https://example.org)",
        "one click. Then wait",
        "click [the](https://example.org) button",
    ],
)
def test_a_common_word_alone_is_no_mention(text: str):
    assert found(text, "click") == {}


def test_a_very_short_name_needs_evidence_too():
    assert found("tox runs them", "tox") == {}
    assert found("run `tox`", "tox") == {"tox": 1}


@pytest.mark.parametrize(
    ("text", "count"), [("under the MIT license", 1), ("MIT-style", 1), ("mit anderen", 0), ("Mit anderen", 0)]
)
def test_a_name_in_capitals_counts_where_it_is_written_so(text: str, count: int):
    assert sum(found(text, Entity(EntityType.LICENCE, "MIT")).values()) == count


def test_one_capital_proves_nothing_at_the_beginning_of_a_sentence():
    flask = package("Flask")
    assert found("It runs on Flask and others", flask) == {"Flask": 1}
    assert found("It broke. Flask and bottle", flask) in ({}, {"Flask": 1})
    person = Entity(EntityType.PERSON, "Hunter")
    assert found("It broke. Hunter and prey", person) == {}
    assert found("written by Hunter himself", person) == {"Hunter": 1}


# --- chunks, size, determinism


def test_the_document_title_in_the_header_is_no_mention_but_the_own_heading_is():
    chunk = Chunk(0, "numpy > Use > With pandas\n\nCall scipy.", ("Use", "With pandas"), 12)
    (linked,) = gazetteer("numpy", "pandas", "scipy").linked([chunk])
    assert [mention.entity.name for mention in linked.mentions] == ["pandas", "scipy"]
    assert linked.text == chunk.text


def test_a_hundred_thousand_names_link_in_one_pass():
    many = Gazetteer.build((package(f"pack-{number}-age") for number in range(100_000)), max_names=100_000)
    text = " ".join(f"pack-{number}-age" for number in range(0, 100_000, 997))
    assert len(many.mentions(text)) == len(range(0, 100_000, 997))


def test_a_name_full_of_syntax_is_only_a_name():
    hostile = "`}) DETACH DELETE n //"
    assert found(f"a {hostile} b", Entity(EntityType.TERM, hostile)) == {hostile: 1}


@given(st.text(max_size=400))
def test_any_text_is_linked_the_same_way_twice(text: str):
    names = ("numpy", "click", "MIT", "data science", "c++")
    first = gazetteer(*names).mentions(text)
    assert first == gazetteer(*reversed(names)).mentions(text)
    assert all(mention.count > 0 for mention in first)
    assert list(first) == sorted(first, key=lambda mention: mention.entity)


@given(st.text(max_size=60))
def test_normalising_a_name_twice_changes_nothing_more(name: str):
    once = ids.normalise_name(name)
    assert ids.normalise_name(once) == once
