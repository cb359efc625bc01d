"""The gazetteer: the names that the sources declare, and where a text mentions them.

It is frozen with an index version (its JSON lies in the ledger, its digest in the index settings). Names and texts are
compared after `ids.normalise_name`, so that case, width, invisible and look-alike characters make no difference; of
overlapping names the first and longest counts. Matching is one pass of an Aho-Corasick automaton.

Precision comes first, because a graph full of false mentions is worse than a sparse one. A name that is also a common
word (`requests`, `click`), a very short one (`six`, `MIT`) or a person's single name is *ambiguous*: it counts only
where the text shows that it is meant: in code marks, in an import or an install command, with a version or a call, as
the text of a link, or written with its own capitals.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ahocorasick_rs import AhoCorasick, MatchKind

from concordance import ids
from concordance.chunking.words import STOP_WORDS, common_words
from concordance.errors import Corrupt, Misconfigured
from concordance.model import Chunk, Entity, EntityType, Mention

# Raised whenever the same names and text may give other mentions: it is frozen with the index version.
ENTITIES_REVISION = 1

_MIN_CHARACTERS = 3
_LETTER = re.compile(r"[^\W\d_]")
_SINGLE_WORD = re.compile(r"[^\W\d_]+")
_SEPARATORS = re.compile(r"[-_.]+")

# A name goes on across these: `requests` is not mentioned in `requests-oauthlib`, nor `numpy` in `my_numpy`. But
# "numpy-like" speaks of numpy.
_GOES_ON = re.compile(r"\w|-(?!(?:like|based|style|compatible|compliant|specific|only|powered)\b)\w")
_CAME_BEFORE = re.compile(r"(?:\w|\w-|\w\.|@|\$)$")

# Evidence for an ambiguous name, in normalised text: what stands before it, what follows it.
_BEFORE_A_NAME = re.compile(
    r"(?:`|\bimport |\b(?:pip3?|pipx|uv|conda|mamba|poetry|pdm|pixi|brew)(?: pip)? (?:install|add|run)"
    r"(?: -{1,2}[a-z-]+)* [\"']?)$"
)
_IMPORTED_FROM = re.compile(r"\bfrom $")
_AFTER_A_MODULE = re.compile(r"(?:\.\w+)* import\b")
_AFTER_A_NAME = re.compile(r"\s?(?:[=~!<>]=|[<>])\s?v?\d|\[[\w,-]+\](?![(\[])|(?:\.[a-z_]\w*)+\(")
_LINKED = re.compile(r"\](?:\(|\[)")
_ENDS_A_SENTENCE = re.compile(r"(?:^|[.!?:>#|*-]|\n)\s*$")
_BEFORE_CHARACTERS, _AFTER_CHARACTERS = 64, 64


@dataclass(frozen=True, slots=True)
class Name:
    """One name of the gazetteer. An ambiguous one needs evidence in the text."""

    entity: Entity
    is_ambiguous: bool


@dataclass(frozen=True)
class Gazetteer:
    """Names in a fixed order; equal names give an equal digest."""

    names: tuple[Name, ...]

    @classmethod
    def build(cls, entities: Iterable[Entity], *, max_names: int, max_name_characters: int = 512) -> Gazetteer:
        """The gazetteer of what the sources declare, in any order and with repetitions.

        One- and two-letter names, names without a letter, stop words and names longer than `max_name_characters` are
        left out. Raises `Misconfigured` when more than `max_names` remain.
        """
        by_name: dict[tuple[str, str], Entity] = {}
        for entity in entities:
            normalised = ids.normalise_name(entity.name) if len(entity.name) <= max_name_characters else ""
            if not _is_usable(normalised):
                continue
            known = by_name.get((entity.type, normalised))
            if known is None or entity.name < known.name:
                by_name[entity.type, normalised] = entity
            if len(by_name) > max_names:
                raise Misconfigured(
                    f"the sources declare more than {max_names} names for entity linking: raise max_gazetteer_names, "
                    "or declare fewer names in the sources file"
                )
        return cls(
            tuple(
                Name(entity, _is_ambiguous(entity.type, normalised))
                for (_, normalised), entity in sorted(by_name.items(), key=lambda item: item[0])
            )
        )

    @cached_property
    def digest(self) -> str:
        return ids.digest(self.as_json())

    def as_json(self) -> dict[str, Any]:
        names = [[name.entity.type.value, name.entity.name, name.is_ambiguous] for name in self.names]
        return {"revision": ENTITIES_REVISION, "names": names}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Gazetteer:
        """What `as_json` gave. Raises `Corrupt` for anything else."""
        try:
            if stored["revision"] != ENTITIES_REVISION:
                raise ValueError
            return cls(
                tuple(
                    Name(Entity(EntityType(type_), str(name)), bool(is_ambiguous))
                    for type_, name, is_ambiguous in stored["names"]
                )
            )
        except (KeyError, TypeError, ValueError):
            raise Corrupt(
                f"the stored gazetteer is not one of revision {ENTITIES_REVISION}: build a new index version"
            ) from None

    def mentions(self, text: str) -> tuple[Mention, ...]:
        """The entities that a text mentions and how often, sorted by type and name."""
        if not self.names:
            return ()
        counts: Counter[Entity] = Counter()
        taken_until = 0
        for start, end, name in sorted(self._found(text), key=lambda hit: (hit[0], -hit[1])):
            if start >= taken_until:
                counts[name.entity] += 1
                taken_until = end
        return tuple(Mention(entity, counts[entity]) for entity in sorted(counts))

    def linked(self, chunks: Iterable[Chunk]) -> list[Chunk]:
        """The chunks with their mentions, in the body and its own heading. The rest of the header is left out: it
        repeats the document's title in each chunk, which says nothing about where a name occurs."""
        return [
            replace(
                chunk, mentions=self.mentions("\n".join((*chunk.heading_path[-1:], chunk.text.partition("\n\n")[2])))
            )
            for chunk in chunks
        ]

    def _found(self, text: str) -> Iterator[tuple[int, int, Name]]:
        """Every occurrence that counts by itself, as (start, end, name), overlapping ones included."""
        normalised = ids.normalise_name(text)
        cased = ""
        automaton, owners = self._automaton
        for pattern, start, end in automaton.find_matches_as_indexes(normalised, overlapping=True):
            if not _stands_alone(normalised, start, end):
                continue
            name = self.names[owners[pattern]]
            if name.is_ambiguous and not _is_shown_as_name(normalised, start, end):
                cased = cased or _cased(text)
                if not _has_own_capitals(cased, start, end, name.entity.name):
                    continue
            yield start, end, name

    @cached_property
    def _automaton(self) -> tuple[AhoCorasick, list[int]]:
        """The automaton over all spellings, and which name each spelling belongs to."""
        owners: dict[str, int] = {}
        # The order of the types decides for a spelling that two names share.
        order = {type_: rank for rank, type_ in enumerate(EntityType)}
        for number in sorted(range(len(self.names)), key=lambda number: order[self.names[number].entity.type]):
            for spelling in _spellings(self.names[number].entity):
                owners.setdefault(spelling, number)
        automaton = AhoCorasick(list(owners), matchkind=MatchKind.Standard, store_patterns=False)
        return automaton, list(owners.values())


def _is_usable(normalised: str) -> bool:
    return len(normalised) >= _MIN_CHARACTERS and bool(_LETTER.search(normalised)) and normalised not in STOP_WORDS


def _is_ambiguous(type_: EntityType, normalised: str) -> bool:
    if not _SINGLE_WORD.fullmatch(normalised):
        return False
    return len(normalised) <= _MIN_CHARACTERS or type_ is EntityType.PERSON or normalised in common_words()


def _spellings(entity: Entity) -> Iterator[str]:
    """A package's name is written with dashes, underscores or dots alike; another name only as it is."""
    normalised = ids.normalise_name(entity.name)
    yield normalised
    if entity.type is EntityType.PACKAGE:
        for separator in "-_.":
            yield _SEPARATORS.sub(separator, normalised)


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Whether the name is a word of its own there, not a part of a longer one."""
    if _is_word(text[end - 1]) and _GOES_ON.match(text, end):
        return False
    return not (_is_word(text[start]) and _CAME_BEFORE.search(text[max(0, start - 2) : start]))


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _is_shown_as_name(text: str, start: int, end: int) -> bool:
    before = text[max(0, start - _BEFORE_CHARACTERS) : start]
    after = text[end : end + _AFTER_CHARACTERS]
    return bool(
        _BEFORE_A_NAME.search(before)
        or _AFTER_A_NAME.match(after)
        or (before.endswith("[") and _LINKED.match(after))
        or (_IMPORTED_FROM.search(before) and _AFTER_A_MODULE.match(after))
    )


def _has_own_capitals(cased: str, start: int, end: int, name: str) -> bool:
    """Whether the text writes the name with the capitals that the source declares. One capital proves nothing where
    every word has one, at the beginning of a sentence."""
    capitals = sum(character.isupper() for character in name)
    if not capitals or cased[start:end] != name:
        return False
    return capitals > 1 or not _ENDS_A_SENTENCE.search(cased[max(0, start - _BEFORE_CHARACTERS) : start])


def _cased(text: str) -> str:
    """The text with its case, its positions those of the normalised text. Where folding changed lengths they are not,
    and a name is then not found by its capitals: comparing it with the text at that place is the proof."""
    return " ".join((text if text.isascii() else unicodedata.normalize("NFKC", text)).split())
