"""Index versions that come and go, inside one transaction each: the adapter opens it and translates errors."""

from __future__ import annotations

import neo4j

from concordance.errors import Conflict
from concordance.model import IndexVersion
from concordance.stores import cypher, cypher_versions
from concordance.stores.neo4j_reconcile import node_of


def kept(transaction: neo4j.Transaction) -> set[int]:
    """Versions with a description, and versions of Documents and Entities."""
    found = {each for each in transaction.run(cypher_versions.DESCRIBED).value() if isinstance(each, int)}
    for query in cypher_versions.NEXT_VERSION:
        after = -1
        while following := transaction.run(query, after=after).value():
            after = following[0]
            found.add(after)
    return found


def drop(transaction: neo4j.Transaction, version: IndexVersion, *, limit: int) -> int:
    """Delete about `limit` nodes of the version at most; how many went. Raises `Conflict` while the pointer names it.

    What is read to its end comes last and once: the chunks that no index names, then the description.
    """
    number = version.version
    if transaction.run(cypher.GET_POINTER, name=cypher.POINTER_NAME).value() == [number]:
        raise Conflict(
            f"index version {number} is not dropped, because the graph's pointer names it: let it name another "
            "version first"
        )
    dropped = 0
    for queries in (cypher_versions.DROP_STEPS, cypher_versions.DROP_REST):
        for query in queries:
            if dropped < limit:
                result = transaction.run(query, version=number, name=node_of(version), limit=limit - dropped)
                dropped += int(result.single(strict=True)["deleted"])
        if dropped:
            break
    return dropped
