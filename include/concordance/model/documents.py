"""What a source gives, and what parsing and chunking make of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from concordance import ids


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of a source's listing. `stamp` changes whenever the content may have: an etag, or size and mtime.

    `changed_at` is when the content last changed as far as the source tells, with a time zone.
    """

    uri: str
    stamp: str
    size_bytes: int
    changed_at: datetime | None = None


class EntityType(StrEnum):
    PACKAGE = "package"
    PERSON = "person"
    LICENCE = "licence"
    KEYWORD = "keyword"
    TERM = "term"


class EntityRole(StrEnum):
    """What an entity from a document's metadata is to that document."""

    SUBJECT = "subject"
    AUTHOR = "author"
    LICENCE = "licence"
    KEYWORD = "keyword"


class RelationKind(StrEnum):
    """Typed edges between two entities."""

    REQUIRES = "requires"
    WRITTEN_BY = "written_by"
    LICENSED_UNDER = "licensed_under"


class LinkKind(StrEnum):
    """Typed edges between two documents."""

    REQUIRES = "requires"
    REFERENCES = "references"


@dataclass(frozen=True, slots=True, order=True)
class Entity:
    """A named thing; its identity is (tenant, type, normalised name), its `name` one spelling of it."""

    type: EntityType
    name: str

    def key(self, tenant: str) -> str:
        return ids.entity_key(tenant=tenant, type=self.type, name=self.name)


@dataclass(frozen=True, slots=True, order=True)
class DocumentEntity:
    """An entity from a document's metadata."""

    role: EntityRole
    entity: Entity


@dataclass(frozen=True, slots=True, order=True)
class Relation:
    """A typed edge between two entities, stated by one document."""

    kind: RelationKind
    subject: Entity
    object: Entity


@dataclass(frozen=True, slots=True, order=True)
class Link:
    """A typed edge from a document to another of the same source, named by its uri (which need not be there yet)."""

    kind: LinkKind
    target_uri: str


@dataclass(frozen=True, slots=True)
class RawDocument:
    """What a source read: the bytes and the metadata that is indexed with them.

    `stamp` is the one that a listing would give for exactly this content, None where the source cannot tell: between a
    listing and the reading a document may change, and change back later.
    """

    uri: str
    content: bytes
    media_type: str | None = None
    title: str | None = None
    entities: tuple[DocumentEntity, ...] = ()
    relations: tuple[Relation, ...] = ()
    links: tuple[Link, ...] = ()
    stamp: str | None = None


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """Markdown with its headings; `title` from the content or the metadata, None when there is none.

    `targets` are the link targets found in the text, as written there.
    """

    markdown: str
    title: str | None
    targets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mention:
    """An entity and how often it occurs in one chunk."""

    entity: Entity
    count: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """The unit that is embedded. `text` is the exact string that the model sees: header, blank line, body.

    The header may be empty; the text then starts with the blank line, so that `text.partition("\\n\\n")` always
    gives header and body.
    """

    ordinal: int
    text: str
    heading_path: tuple[str, ...]
    token_count: int
    mentions: tuple[Mention, ...] = ()

    @property
    def text_digest(self) -> str:
        return ids.text_digest(self.text)


class Reason(StrEnum):
    """Why a document is in quarantine: a closed list, each with its section in the runbook."""

    UNREADABLE = "unreadable"
    EMPTY = "empty"
    TOO_LARGE = "too_large"
    UNKNOWN_FORMAT = "unknown_format"
    PARSER_FAILED = "parser_failed"
    PARSER_KILLED = "parser_killed"
    PARSER_TIMEOUT = "parser_timeout"
    NO_TEXT = "no_text"
    BAD_ENCODING = "bad_encoding"
    TOO_MANY_CHUNKS = "too_many_chunks"
    BAD_CHUNK = "bad_chunk"
    BAD_VECTOR = "bad_vector"
    STORE_REFUSED = "store_refused"
    ENCODING_DAMAGE = "encoding_damage"
    WRONG_LANGUAGE = "wrong_language"
    DUPLICATE_CONTENT = "duplicate_content"
    NOT_KEPT = "not_kept"
    GATE_DOCUMENTS = "gate_documents"
    GATE_ENTITIES = "gate_entities"
    GATE_CHUNKS = "gate_chunks"
