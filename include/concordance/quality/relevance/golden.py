"""Golden queries: questions of people with the documents that answer them, from a file of the deployment. Pure.

TOML (`[[query]]` tables) or JSON Lines, by the file's ending. Each has an `id`, the `tenant` and the `access` labels of
the reader who asks, the `text`, and `relevant`: the documents by `source` and `uri`. No error repeats a query's text.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from concordance import ids
from concordance.errors import Misconfigured
from concordance.quality.relevance.queries import Query
from concordance.settings import Settings

_NAME = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
_LABEL = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,62}$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class _Document(_Frozen):
    source: _NAME
    uri: str = Field(min_length=1, max_length=4096)


class _Golden(_Frozen):
    id: _LABEL
    tenant: _NAME
    access: tuple[_LABEL, ...] = Field(min_length=1, max_length=100)
    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
    relevant: tuple[_Document, ...] = Field(min_length=1)


def golden_queries(content: bytes, *, name: str, settings: Settings) -> list[Query]:
    """The queries of a file of this `name`. Raises `Misconfigured` for a file that is too large, of no known ending or
    not what it should be, naming the query and the key, and what is allowed."""
    if len(content) > settings.golden_max_bytes:
        raise _wrong(name, f"has more than {settings.golden_max_bytes:,} bytes, the setting golden_max_bytes")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise _wrong(name, "is not UTF-8: save it so") from None
    tables = list(_tables(text, name))
    if len(tables) > settings.golden_max_queries:
        raise _wrong(
            name, f"has {len(tables):,} queries, allowed are golden_max_queries = {settings.golden_max_queries:,}"
        )
    queries = [
        _query(table, f"{name}, query number {number}", settings) for number, table in enumerate(tables, start=1)
    ]
    _require_distinct([query.identity for query in queries], name)
    return queries


def _tables(text: str, name: str) -> Iterator[Any]:
    if name.endswith(".toml"):
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise _wrong(name, f"is not valid TOML: {error}") from None
        queries = document.pop("query", [])
        if document or not isinstance(queries, list):
            raise _wrong(name, "must hold [[query]] tables and nothing else at its top")
        yield from queries
    elif name.endswith(".jsonl"):
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                yield _parsed(line, f"line {number}", name)
    else:
        raise _wrong(name, "must end with .toml or .jsonl: its ending says how it is read")


def _parsed(line: str, where: str, name: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise _wrong(name, f"{where} is not a JSON object") from None


def _query(table: Any, where: str, settings: Settings) -> Query:
    try:
        golden = _Golden.model_validate(table)
    except ValidationError as error:
        problems = "; ".join(
            f"key {'.'.join(map(str, line['loc'])) or '(all)'}: {line['msg']}" for line in error.errors()
        )
        raise Misconfigured(f"The golden queries {where}: {problems}") from None
    if len(golden.text) > settings.search_max_query_characters:
        raise Misconfigured(
            f"The golden queries {where}: key text has {len(golden.text):,} characters, allowed are "
            f"search_max_query_characters = {settings.search_max_query_characters:,}"
        )
    if len(golden.relevant) > settings.golden_max_documents:
        raise Misconfigured(
            f"The golden queries {where}: key relevant names {len(golden.relevant):,} documents, allowed are "
            f"golden_max_documents = {settings.golden_max_documents:,}"
        )
    return Query(
        identity=f"golden {golden.id}",
        kind="golden",
        tenant=golden.tenant,
        access=tuple(sorted(set(golden.access))),
        relevant=frozenset(
            ids.document_id(tenant=golden.tenant, source=document.source, uri=document.uri)
            for document in golden.relevant
        ),
        text=" ".join(golden.text.split()),
    )


def _require_distinct(identities: Sequence[str], name: str) -> None:
    seen: set[str] = set()
    for identity in identities:
        if identity in seen:
            raise _wrong(name, f"has the id {identity.removeprefix('golden ')!r} twice: each query needs its own")
        seen.add(identity)


def _wrong(name: str, what: str) -> Misconfigured:
    return Misconfigured(f"The file of golden queries {name} {what}")
