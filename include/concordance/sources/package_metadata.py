"""What the core metadata of a Python package states, as a document with entities, relations and links. Pure.

Metadata is written by strangers: every list and every length has a limit, and what does not look like a name, a licence
or a keyword is dropped. E-mail addresses are never kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from email.utils import getaddresses
from importlib.metadata import PackageMetadata

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from concordance.errors import PoisonDocument
from concordance.model import (
    DocumentEntity,
    Entity,
    EntityRole,
    EntityType,
    Link,
    LinkKind,
    RawDocument,
    Reason,
    Relation,
    RelationKind,
)

MAX_REQUIREMENTS = 1_000
MAX_PEOPLE = 20
MAX_KEYWORDS = 20
MAX_LICENCES = 10
MAX_NAME_CHARACTERS = 80
MAX_KEYWORD_CHARACTERS = 40
MAX_SUMMARY_CHARACTERS = 300

_DEFAULT_MEDIA_TYPE = "text/x-rst"  # what the specification of Description-Content-Type says when it is missing
_NOTHING = frozenset({"", "unknown", "none", "null", "n/a", "na", "tbd", "todo", "author", "your name"})
_SPACES = re.compile(r"\s+")
_BETWEEN_PEOPLE = re.compile(r"\s*(?:,|;|&|\n|\band\b)\s*")
_TRAILING_OTHERS = re.compile(r"[\s,]*\b(?:et al\.?|(?:and )?(?:other )?contributors)\s*$", re.IGNORECASE)
_ADDRESS = re.compile(r"<[^>]*>|\S+@\S+|\([^)]*@[^)]*\)")
_LICENCE_OPERATORS = re.compile(r"\s+(?:OR|AND|WITH)\s+|[()]")
_LICENCE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")

# The names that classifiers and free text use for licences which have an SPDX identifier.
_SPDX = {
    "mit": "MIT",
    "mit license": "MIT",
    "the mit license": "MIT",
    "apache software license": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache license version 2.0": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache 2": "Apache-2.0",
    "apache-2": "Apache-2.0",
    "apache2": "Apache-2.0",
    "apache2.0": "Apache-2.0",
    "bsd 3-clause": "BSD-3-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "new bsd": "BSD-3-Clause",
    "bsd 2-clause": "BSD-2-Clause",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "isc license (iscl)": "ISC",
    "isc license": "ISC",
    "python software foundation license": "PSF-2.0",
    "psf": "PSF-2.0",
    "the unlicense (unlicense)": "Unlicense",
    "gnu lesser general public license v3 (lgplv3)": "LGPL-3.0-only",
    "gnu general public license v3 (gplv3)": "GPL-3.0-only",
    "gnu general public license v2 (gplv2)": "GPL-2.0-only",
}


def canonical_name(name: str) -> str:
    """PyPA's normalised name: lower case, runs of `-`, `_` and `.` as one dash."""
    return str(canonicalize_name(name)).strip("-")


def document(uri: str, metadata: PackageMetadata) -> RawDocument:
    """The document of one distribution. Raises `PoisonDocument` (`no_text`) when the package has no README."""
    # Old metadata versions carry the description as a header, with its line breaks folded.
    text = _payload(metadata) or _unfolded(_one(metadata, "Description"))
    if not text.strip() or text.strip().casefold() in _NOTHING:
        raise PoisonDocument(f"the distribution {uri} has no README in its metadata", reason=Reason.NO_TEXT)
    subject = Entity(EntityType.PACKAGE, uri)
    requirements = sorted(set(_requirements(metadata.get_all("Requires-Dist") or [])) - {uri})
    people = _people(metadata)
    licences = _licences(metadata)
    return RawDocument(
        uri=uri,
        content=text.encode("utf-8", "replace"),
        media_type=_one(metadata, "Description-Content-Type").partition(";")[0].strip().lower() or _DEFAULT_MEDIA_TYPE,
        title=_title(metadata, uri),
        entities=(
            DocumentEntity(EntityRole.SUBJECT, subject),
            *(DocumentEntity(EntityRole.AUTHOR, person) for person in people),
            *(DocumentEntity(EntityRole.LICENCE, licence) for licence in licences),
            *(DocumentEntity(EntityRole.KEYWORD, keyword) for keyword in _keywords(_one(metadata, "Keywords"))),
        ),
        relations=(
            *(Relation(RelationKind.REQUIRES, subject, Entity(EntityType.PACKAGE, name)) for name in requirements),
            *(Relation(RelationKind.WRITTEN_BY, subject, person) for person in people),
            *(Relation(RelationKind.LICENSED_UNDER, subject, licence) for licence in licences),
        ),
        links=tuple(Link(LinkKind.REQUIRES, name) for name in requirements),
    )


def _payload(metadata: PackageMetadata) -> str:
    # `PackageMetadata` is an email message in fact; its protocol does not name the body.
    body = metadata.get_payload() if hasattr(metadata, "get_payload") else ""
    return body if isinstance(body, str) else ""


def _one(metadata: PackageMetadata, key: str) -> str:
    values = metadata.get_all(key) or []
    return str(values[0]) if values else ""


def _unfolded(description: str) -> str:
    lines = description.splitlines()
    return "\n".join(lines[:1] + [re.sub(r"^ {7}[ |]", "", line) for line in lines[1:]])


def _title(metadata: PackageMetadata, uri: str) -> str:
    summary = _SPACES.sub(" ", _one(metadata, "Summary")).strip()
    name = _SPACES.sub(" ", _one(metadata, "Name")).strip() or uri
    if summary.casefold() in _NOTHING:
        return name[:MAX_NAME_CHARACTERS]
    return f"{name[:MAX_NAME_CHARACTERS]} — {summary[:MAX_SUMMARY_CHARACTERS]}"


def _requirements(lines: Iterable[str]) -> Iterator[str]:
    for line in list(lines)[:MAX_REQUIREMENTS]:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        if requirement.marker is None or not re.search(r"\bextra\b", str(requirement.marker)):
            yield canonical_name(requirement.name)


def _people(metadata: PackageMetadata) -> list[Entity]:
    names = []
    for header in ("Author", "Maintainer"):
        for value in metadata.get_all(header) or []:
            names += _BETWEEN_PEOPLE.split(_ADDRESS.sub(" ", str(value)[:10_000]))
        for value in metadata.get_all(f"{header}-email") or []:
            names += [name for name, _ in getaddresses([str(value)[:10_000]])]
    return _distinct(EntityType.PERSON, (_person(name) for name in names), limit=MAX_PEOPLE)


def _person(name: str) -> str:
    spaced = _SPACES.sub(" ", _TRAILING_OTHERS.sub("", _ADDRESS.sub(" ", name)))
    return spaced.strip(" \"'.,;:()[]<>-") if "@" not in spaced and "://" not in spaced else ""


def _licences(metadata: PackageMetadata) -> list[Entity]:
    expression = _one(metadata, "License-Expression")
    if expression:
        names = [part.strip() for part in _LICENCE_OPERATORS.split(expression[:1000])]
        names = [name for name in names if _LICENCE_ID.fullmatch(name)]
    else:
        classifiers = [str(line) for line in metadata.get_all("Classifier") or [] if str(line).startswith("License ::")]
        names = [line.rpartition("::")[2].strip() for line in classifiers if line.count("::") > 1]
        stated = _one(metadata, "License").strip()
        # The licence's whole text is often pasted here; only a name is a name.
        if not names and "\n" not in stated:
            names = [stated]
    return _distinct(EntityType.LICENCE, (_SPDX.get(name.casefold(), name) for name in names), limit=MAX_LICENCES)


def _keywords(keywords: str) -> list[Entity]:
    stated = _SPACES.sub(" ", keywords[:10_000])
    parts = re.split(r"[,;]", stated) if re.search(r"[,;]", stated) else stated.split(" ")
    words = (part.strip(" \"'[](){}#*.").casefold() for part in parts)
    return _distinct(
        EntityType.KEYWORD,
        (word for word in words if 2 <= len(word) <= MAX_KEYWORD_CHARACTERS and "://" not in word and "@" not in word),
        limit=MAX_KEYWORDS,
    )


def _distinct(type: EntityType, names: Iterable[str], *, limit: int) -> list[Entity]:
    """The first `limit` usable names, one for each entity, in order."""
    found: dict[str, Entity] = {}
    for name in names:
        usable = name.casefold() not in _NOTHING and len(name) <= MAX_NAME_CHARACTERS
        if usable and any(character.isalpha() for character in name):
            entity = Entity(type, name)
            found.setdefault(entity.key(""), entity)
            if len(found) >= limit:
                break
    return list(found.values())
