"""Whether each store answers its driver, asked now: what the processes that work with it would meet.

A circuit belongs to one process: what is shown here is the circuit of this process after its own attempts, not that of
a worker. A worker whose circuit opens says so in its log and counts it in the metric `store.circuit`.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from concordance.circuit import Circuit
from concordance.errors import ConcordanceError
from concordance.ledger import open_ledger
from concordance.resilience import Store
from concordance.settings import Settings
from concordance.stores import open_graph, open_vectors


class Pinged(Protocol):
    """What the three adapters have in common."""

    @property
    def circuit(self) -> Circuit: ...

    def ping(self) -> str: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Probe:
    """One store: the server's name and version if it answers; `detail` says what is wrong and what to do."""

    store: Store
    answers: bool
    server: str
    circuit: str
    detail: str = ""


def probe(settings: Settings) -> list[Probe]:
    """Ask the three stores at once, each with a single attempt."""
    once = settings.model_copy(update={"retry_attempts": 1})
    openers: dict[Store, Callable[[Settings], Pinged]] = {
        Store.LEDGER: open_ledger,
        Store.GRAPH: open_graph,  # type: ignore[dict-item]  # the adapters have circuits, their ports do not ask for one
        Store.VECTORS: open_vectors,  # type: ignore[dict-item]
    }
    with ThreadPoolExecutor(len(openers)) as pool:
        asked = [pool.submit(_ask, store, opener, once) for store, opener in openers.items()]
        return [each.result() for each in asked]


def _ask(store: Store, opener: Callable[[Settings], Pinged], settings: Settings) -> Probe:
    try:
        adapter = opener(settings)
    except ConcordanceError as error:
        return Probe(store, False, "", "", str(error))
    try:
        server = adapter.ping()
    except ConcordanceError as error:
        return Probe(store, False, "", str(adapter.circuit.state()), str(error))
    else:
        return Probe(store, True, server, str(adapter.circuit.state()))
    finally:
        adapter.close()
