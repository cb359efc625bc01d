"""What extract measures of a text for the gates."""

from __future__ import annotations

import pytest

from concordance.errors import Misconfigured
from concordance.quality.texts import damage, measure, said, same
from concordance.settings import Settings

SETTINGS = Settings()
ENGLISH = "The keeper of the harbour writes down each ship that enters, and each that leaves again. " * 4
GERMAN = "Der Wächter des Hafens schreibt jedes Schiff auf, das einläuft, und jedes, das wieder ausläuft. " * 4


@pytest.mark.parametrize(
    ("text", "damaged"),
    [
        ("plain words", False),
        (GERMAN, False),
        ("naïve café, 12 °C – “quoted” … ©", False),
        ("仓库里的每一本书都有一个编号。", False),
        ("Привет, мир. Γειά σου Κόσμε.", False),
        (GERMAN.encode().decode("cp1252"), True),
        ("cafÃ© and naÃ¯ve", True),
        ("it\ufffd\ufffd broken", True),
        ("a\x01b\x9fc", True),
    ],
)
def test_a_wrong_decoding_leaves_its_marks(text: str, damaged: bool) -> None:
    assert (damage(text) > 0) is damaged


def test_mojibake_of_a_whole_text_is_more_than_is_tolerated() -> None:
    wrong = GERMAN.encode().decode("cp1252")
    assert damage(wrong) > max(SETTINGS.tolerated_damaged_characters, SETTINGS.max_damaged_fraction * len(wrong))


def language(text: str, *languages: str) -> tuple[str, float]:
    measures = measure(text, languages=languages, settings=SETTINGS)
    return measures.language, measures.language_probability


def test_a_text_tells_its_language_to_a_source_that_asks() -> None:
    assert language(ENGLISH) == ("", 0.0)
    assert language(ENGLISH, "en")[0] == "en"
    assert language(ENGLISH, "en", "fr")[1] > 0.9
    assert language(GERMAN, "en", "fr")[0] == "de"
    assert language(GERMAN, "en", "fr")[1] < SETTINGS.min_language_probability


def test_short_texts_and_code_tell_no_language() -> None:
    assert language("Guten Tag, wie geht es Ihnen?", "en") == ("", 0.0)
    assert language("```python\n" + "for value in values:\n    print(value)\n" * 40 + "```\n", "de") == ("", 0.0)


def test_code_and_addresses_in_a_text_do_not_hide_its_language() -> None:
    code = "```\n" + "int main(void) { return 0; }\n" * 400 + "```\n\n"
    assert language(code + GERMAN + " https://example.org/the/way/of/the/world" * 50, "de")[0] == "de"


def test_a_language_that_nobody_can_tell_is_refused_by_name() -> None:
    with pytest.raises(Misconfigured, match="languages qq, which cannot be told"):
        language(ENGLISH, "en", "qq")


def test_what_is_said_leaves_out_what_chunks_may_leave_out() -> None:
    text = (
        "<!-- hidden -->\nWords [link](https://example.org/a) and ![badge](https://example.org/b.svg) stay. 123\n\n"
        "<https://example.org>\n\n[ref]: https://example.org/c\n\n# Contents\n\n- one\n- two\n\n## Next\n\nMore.\n"
    )
    assert said(text) == len("Wordsandstay123" + "Next" + "More")
    assert measure(text, languages=(), settings=SETTINGS).said_characters == said(text) - len("ContentsNext")


def test_texts_are_the_same_whatever_their_case_and_spaces() -> None:
    assert same("One  text\n") == same("one TEXT")
    assert same("One text") != same("Another text")
    assert len(same("lone \ud800")) == 32


@pytest.mark.parametrize(
    "evil",
    ["<!--", "[", "![](", "](", "<", "`", "```\n", "# contents" + " " * 99, "\n", "Ã ", "-", "[a]: ", "x\n-\n", "  \n"],
)
def test_no_text_takes_more_than_linear_time(evil: str) -> None:
    # A quadratic pattern would take hours here; pytest's own limit is the deadline.
    measure(evil * (400_000 // len(evil)), languages=("en",), settings=SETTINGS)
