"""A shelf whose three stores are reached through a proxy each, which cuts and refuses as a test asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from concordance.settings import Settings
from support.cutting_proxy import CuttingProxy, bolt_commits, cutting, postgres_commits, qdrant_writes
from support.shelves import Shelf, make_shelf

STORES = ("graph", "vectors", "ledger")


@contextmanager
def fronted_shelf(
    stack: Settings, folder: Path, **overrides: Any
) -> Iterator[tuple[Shelf, Mapping[str, CuttingProxy]]]:
    """The shelf, and the proxies by store. The stack's own addresses still lead past them."""
    with ExitStack() as opened:
        proxies = {
            "graph": opened.enter_context(cutting(("127.0.0.1", stack.bolt_port), bolt_commits)),
            "vectors": opened.enter_context(cutting(("127.0.0.1", stack.qdrant_port), qdrant_writes)),
            "ledger": opened.enter_context(cutting(("127.0.0.1", stack.postgres_port), postgres_commits)),
        }
        ledger = urlsplit(stack.effective_ledger_url)
        addresses = {
            "neo4j_url": f"bolt://127.0.0.1:{proxies['graph'].port}",
            "neo4j_user": stack.effective_neo4j_user,
            "neo4j_database": stack.effective_neo4j_database,
            "qdrant_url": f"http://127.0.0.1:{proxies['vectors'].port}",
            "ledger_url": f"postgresql://{ledger.username}@127.0.0.1:{proxies['ledger'].port}{ledger.path}",
        }
        yield make_shelf(stack, folder, documents=6, **{**addresses, **overrides}), proxies
