"""A source's metadata is text from outside, as the document's bytes are: it is cleaned by the same rules.

Without them a NUL would stop the ledger and a lone surrogate the whole run, for all other documents too; and a document
that states a million names would outlast the lease of its batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain

from concordance import ids
from concordance.errors import PoisonDocument
from concordance.model import Entity, RawDocument, Reason
from concordance.parsing.encoding import clean
from concordance.parsing.markdown import shortened


def check_count(raw: RawDocument, *, max_names: int) -> None:
    """Raises `PoisonDocument` (`too_large`) for more than `max_names` entities, relations or links."""
    most = max(len(raw.entities), len(raw.relations), len(raw.links))
    if most > max_names:
        raise PoisonDocument(
            f"document {raw.uri} states {most} names, allowed are {max_names}: let its source state fewer, or raise "
            "max_names_per_document",
            reason=Reason.TOO_LARGE,
        )


def with_clean_names(raw: RawDocument) -> RawDocument:
    """Title, names and link targets without what belongs into no text; a name of which nothing is left is none."""
    named = chain(
        (each.entity for each in raw.entities),
        chain.from_iterable((relation.subject, relation.object) for relation in raw.relations),
    )
    names = dict(_clean(named))
    return replace(
        raw,
        title=shortened(clean(raw.title)) if raw.title else None,
        entities=tuple(replace(each, entity=names[each.entity]) for each in raw.entities if each.entity in names),
        relations=tuple(
            replace(relation, subject=names[relation.subject], object=names[relation.object])
            for relation in raw.relations
            if relation.subject in names and relation.object in names
        ),
        links=tuple(
            replace(link, target_uri=target) for link in raw.links if (target := clean(link.target_uri).strip())
        ),
    )


def _clean(entities: Iterable[Entity]) -> Iterator[tuple[Entity, Entity]]:
    for entity in entities:
        name = clean(entity.name).strip()
        if ids.normalise_name(name):
            yield entity, replace(entity, name=name)
