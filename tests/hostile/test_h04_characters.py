"""H04: characters that hide, reverse, pile up or end a string."""

from __future__ import annotations

import pytest

from concordance import ids
from concordance.model import Reason
from support.hostile import Batch, Case, Reader, given

CASES = (
    given("H04-nul", "nul.html", "<p>before&#0;after \x00</p>", Reason.UNKNOWN_FORMAT),
    given("H04-nul-reference", "reference.html", "<p>before &#0; after</p>", "before"),
    given("H04-nul-json", "nul.json", '{"text": "before \\u0000 after"}', "before"),
    given("H04-controls", "controls.md", "one\x01\x02\x1b[31mtwo\x7f\x9b words", "one[31mtwo words"),
    given("H04-bidi", "bidi.md", "user \u202e\u2066nimda\u2069 words", "user nimda words"),
    given("H04-bidi-reference", "bidi.html", "<p>user &#x202e;nimda words</p>", "user nimda words"),
    given("H04-zero-width", "zero.md", "zero\u200bwidth\u2060 \ufeffwords", "zerowidth words"),
    given("H04-combining", "marks.md", "e" + "\u0301" * 10_000 + " words", "words"),
    given("H04-combining-million", "more-marks.md", "e" + "\u0301" * 1_000_000 + " words", "words"),
    given("H04-noncharacters", "none.md", "\ufffe\uffff words \U0010ffff", "words"),
    given("H04-tags", "tags.md", "words \U000e0041\U000e0042 and more", "words"),
)
SPELLINGS = (
    "Concordance",
    "CONCORDANCE",
    "Con\u200bcor\u2060dance",
    "\u202eConcordance\u202c",
    "C\u043en\u0441\u043erdance",  # Cyrillic o and es
    "\uff23oncordance",  # full width
    "Con\u00adcordance",
    " Concordance\n",
    "Concordance\x00",
)


def test_alone(reader: Reader, case: Case) -> None:
    reader.check(case)


def test_in_the_middle_of_fifty_good_ones(batch: Batch) -> None:
    batch.check(CASES, gated=True)


@pytest.mark.parametrize("name", SPELLINGS, ids=ascii)
def test_two_spellings_of_one_entity_get_one_key(name: str) -> None:
    key = ids.entity_key(tenant="acme", type="package", name="concordance")
    assert ids.entity_key(tenant="acme", type="package", name=name) == key
