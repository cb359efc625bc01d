"""Hostile documents: what each is, what must become of it, and the two places where that is shown.

Alone, it goes through parser and chunker. In the middle of fifty good documents, it goes through a whole run over a
`files` source, on memory stores and a real ledger; where the text itself is hostile, with the gates, which cost
seconds.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from concordance.consistency.verify import verify
from concordance.errors import PoisonDocument
from concordance.ledger import Ledger
from concordance.model import (
    Anchor,
    DocumentEntity,
    Entity,
    EntityRole,
    EntityType,
    GenerationKey,
    IndexVersion,
    Link,
    LinkKind,
    RawDocument,
    Reason,
    Relation,
    RelationKind,
)
from concordance.parsing.parser import Parser
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.references import RunReport, RunRequest
from concordance.pipeline.run import ingest
from concordance.settings import Settings
from concordance.sources.declaration import SourceDeclaration
from concordance.sources.kinds import open_source
from concordance.stores.memory import MemoryGraph, MemoryVectors
from simulation.world import Shelf
from support.chunking import cut
from support.ledgers import connect
from support.memory_adapters import memory_adapters
from support.shelves import run_ungated

GOOD_DOCUMENTS = 50
# Pages of shared libraries are resident too, but no document makes more of them.
_LIBRARY_BYTES = 120_000_000
_SONG = "the canary sings"
_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Canary:
    """A file that must not be read, and an address that must not be contacted."""

    file: Path
    url: str
    contacted: threading.Event

    def assert_silent(self) -> None:
        assert not self.contacted.is_set()
        assert self.file.read_text() == _SONG
        assert os.listdir(self.file.parent) == [self.file.name]


@contextmanager
def canary_in(folder: Path) -> Iterator[Canary]:
    file = folder / "canary.txt"
    file.write_text(_SONG)
    contacted, stop = threading.Event(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.05)

        def wait() -> None:
            while not stop.is_set():
                try:
                    listening.accept()[0].close()
                except TimeoutError:
                    continue
                contacted.set()

        thread = threading.Thread(target=wait)
        thread.start()
        try:
            yield Canary(file, f"http://127.0.0.1:{listening.getsockname()[1]}/canary", contacted)
        finally:
            stop.set()
            thread.join(_SECONDS)


@dataclass(frozen=True, slots=True)
class Case:
    """`id` begins with the fault's number; `name` is its file's. `expected`: the reason code of its quarantine, or
    words that are read of it."""

    id: str
    name: str
    make: Callable[[Canary], bytes]
    expected: Reason | str


def given(id: str, name: str, content: bytes | str, expected: Reason | str) -> Case:
    """A case of few bytes, which need no canary."""
    encoded = content.encode() if isinstance(content, str) else content
    return Case(id, name, lambda _: encoded, expected)


@dataclass(frozen=True, slots=True)
class Reader:
    """Parser and chunker, as a run has them."""

    parser: Parser
    canary: Canary
    settings: Settings

    def check(self, case: Case) -> None:
        """The document becomes what is expected of it, within the limits, and the next one is read."""
        raw = RawDocument(uri=case.name, content=case.make(self.canary))
        if isinstance(case.expected, Reason):
            with pytest.raises(PoisonDocument) as refused:
                self._read(raw)
            said = str(refused.value)
            assert refused.value.reason == case.expected, said
            assert len(said) < 1000
        else:
            said = self._read(raw)
            assert case.expected in said
            assert "\x00" not in said
        assert _SONG not in said
        self._assert_within_limits()
        self.canary.assert_silent()
        assert self._read(RawDocument("good.md", b"# Good\n\nText.")) == "Good\n\nText."

    def _read(self, raw: RawDocument) -> str:
        parsed = self.parser.parse(raw)
        chunks = cut(parsed.markdown, title=parsed.title, max_chunks=self.settings.max_chunks_per_document)
        if not chunks:
            raise PoisonDocument(f"document {raw.uri} has no text to index", reason=Reason.NO_TEXT)
        return "\n".join(chunk.text for chunk in chunks)

    def _assert_within_limits(self) -> None:
        for pid in self.parser.child_pids:
            assert peak_bytes(pid) < self.settings.parser_memory_bytes + _LIBRARY_BYTES


def peak_bytes(pid: int) -> int:
    """The most memory that a process ever held, where the kernel tells; else what it holds now."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return int(psutil.Process(pid).memory_info().rss)
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


@dataclass
class NamingShelf(Shelf):
    """A source of fifty good documents and one, `bad`, that states hostile names of itself in every field."""

    stated: Sequence[str] = ()

    def __post_init__(self) -> None:
        for number in range(GOOD_DOCUMENTS):
            self.documents[f"note-{number}"] = good_text(number)
        self.documents["bad"] = "# Bad\n\nharmless words"

    def read(self, uri: str) -> RawDocument:
        raw = super().read(uri)
        if uri != "bad":
            return raw
        people = [Entity(EntityType.PERSON, name) for name in self.stated]
        return replace(
            raw,
            title=" ".join(self.stated)[:5_000],
            entities=tuple(DocumentEntity(EntityRole.AUTHOR, person) for person in people),
            relations=tuple(Relation(RelationKind.WRITTEN_BY, person, people[0]) for person in people),
            links=tuple(Link(LinkKind.REFERENCES, name) for name in self.stated),
        )


def good_text(number: int) -> str:
    return f"# Note {number}\n\nA stone in river number {number}.\n"


class Batch:
    """A folder of fifty good documents, and what a run makes of it with others in their middle."""

    def __init__(self, folder: Path, *, ledger: Ledger, settings: Settings, parser: Parser, canary: Canary) -> None:
        self.folder = folder
        self.canary = canary
        # Some families have as many cases as a run may reject.
        self.settings = settings.model_copy(
            update={"retry_wait_seconds": 0.0, "max_quarantined_fraction": 1.0, "max_document_bytes": 20_000_000}
        )
        self.graph, self.vectors = MemoryGraph(), MemoryVectors()
        self._ledger, self._parser = ledger, parser
        folder.mkdir()
        for number in range(GOOD_DOCUMENTS):
            place = "a" if number < GOOD_DOCUMENTS // 2 else "z"
            self.write(f"{place}-{number}.md", good_text(number).encode())
        self.declaration = SourceDeclaration.parse(
            {"name": "shelf", "kind": "files", "tenant": "acme", "location": str(folder)}, where="test"
        )

    def write(self, name: str, content: bytes) -> None:
        (self.folder / name).write_bytes(content)

    def adapters(self, *, source: Any = None) -> Adapters:
        opened = source or open_source(self.declaration, self.settings)
        return memory_adapters(
            self._ledger,
            self.settings,
            self._parser,
            source=opened,
            graph=self.graph,
            vectors=self.vectors,
            staging=f"file://{self.folder.parent / 'staging'}",
        )

    def check(self, cases: Sequence[Case], *, besides: Mapping[str, Reason] | None = None, gated: bool = False) -> None:
        """The good ones are committed, and each case has become what is expected of it, and nothing else. `besides`
        are files that are there already, with the reason codes of their quarantine."""
        for case in cases:
            self.write(f"m-{case.name}", case.make(self.canary))
        report = self.run(self.adapters(), gated=gated)
        read = [case for case in cases if not isinstance(case.expected, Reason)]
        self.assert_outcome(
            report,
            committed=GOOD_DOCUMENTS + len(read),
            quarantined={
                **{f"m-{case.name}": case.expected for case in cases if isinstance(case.expected, Reason)},
                **(besides or {}),
            },
        )

    def run(self, adapters: Adapters, *, run_id: str = "run", gated: bool = False) -> RunReport:
        if gated:
            return ingest(RunRequest("shelf", run_id), adapters=adapters, settings=self.settings)
        return run_ungated(run_id, adapters=adapters)

    def assert_outcome(self, report: RunReport, *, committed: int, quarantined: Mapping[str, Reason]) -> None:
        found = self.quarantine()
        assert found == quarantined, sorted(found.items() ^ quarantined.items())
        counts = report.counts
        assert (counts["committed"], counts.get("quarantined", 0)) == (committed, len(quarantined))
        assert counts["discovered"] == committed + len(quarantined)
        checked = verify(ledger=self._ledger, graph=self.graph, vectors=self.vectors)
        assert checked.is_sound, checked.findings
        self.canary.assert_silent()

    @property
    def rows(self) -> int:
        """Rows of every kind in both stores."""
        return sum(sum(store.counts(self._live).rows.values()) for store in (self.graph, self.vectors))

    def shown(self) -> dict[str, str]:
        """By uri of each document that the graph shows: its text."""
        return {
            anchor.uri: "\n".join(row.text for row in self.graph.chunk_rows(self._live, [key]))
            for anchor, key in self._anchors()
        }

    def authors(self, uri: str) -> set[str]:
        """Keys of the entities that are a document's authors, as the graph has them."""
        (key,) = (key for anchor, key in self._anchors() if anchor.uri == uri)
        return {entity_key for _, entity_key in self.graph.contents(self._live, [key])[key].entities}

    @property
    def _live(self) -> IndexVersion:
        with self._ledger.snapshot() as snapshot:
            return snapshot.live()

    def _anchors(self) -> Iterator[tuple[Anchor, GenerationKey]]:
        for anchor in self.graph.documents(self._live):
            if anchor.generation is not None:
                yield anchor, GenerationKey(anchor.document_id, anchor.generation)

    def quarantine(self) -> dict[str, str]:
        """Reason codes by uri."""
        with connect(self.settings) as connection:
            rows = connection.execute("SELECT uri, reason FROM quarantine JOIN documents USING (document_id)")
            return {str(uri): str(reason) for uri, reason in rows.fetchall()}
