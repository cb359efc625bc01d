"""A query of the gate, and what two index versions answered."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Query:
    """`identity` names it in reports: a golden query's id, or kind, document id and ordinal of a generated one; never
    its text. It is asked as a reader of `tenant` who carries `access`."""

    identity: str
    kind: str
    tenant: str
    access: tuple[str, ...]
    relevant: frozenset[UUID]
    text: str = field(repr=False)
    """Document text, or as private as that: it leaves the process only towards the model and the vector store."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one version answered, in documents, each once, best first, at most `DEPTH`: `hybrid` is what readers get,
    `dense` and `sparse` the two lists that it is fused of."""

    hybrid: tuple[UUID, ...] = ()
    dense: tuple[UUID, ...] = ()
    sparse: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True)
class Pair:
    """One query's answer by the live version and by the next one, read in one snapshot of the ledger."""

    query: Query
    before: Answer
    after: Answer
