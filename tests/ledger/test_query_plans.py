"""What the ledger asks stays a look by key when its tables are large: every statement that a small house ever sends is
planned again beside a heap of documents, and may not read a large table from one end to the other."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from concordance import ids
from concordance.consistency.erase import EraseRequest, erase, finish
from concordance.expiry.maintain import maintain
from concordance.ledger import Ledger
from concordance.ledger.erasure_scope import Scope as Erased
from concordance.model import GenerationKey, QuarantineFilter
from concordance.parsing.parser import Parser
from concordance.pipeline.plan import make_plan
from concordance.pipeline.references import RunRequest
from concordance.pipeline.report import report
from concordance.reindex.drop import begin_drop_of_old, drop_due
from concordance.reindex.swap import rollback
from concordance.settings import Settings
from simulation.world import SOURCE
from support.ledgers import connect
from support.rebuilding import made_ungated, swapped
from support.small_house import SmallHouse

LEDGER = Path(sys.modules["concordance.ledger"].__file__ or "").parent
LARGE = ("documents", "generations", "chunks", "links", "plan_documents")
DOCUMENTS = 20_000


@dataclass
class Asked:
    """Statements with their values, each once, by the function of the ledger that sends them."""

    statements: dict[tuple[str, str], Any] = field(default_factory=dict)

    @property
    def functions(self) -> set[str]:
        return {function for function, _ in self.statements}


@contextmanager
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    """What the driver is given inside the block."""
    asked, execute = Asked(), psycopg.Cursor.execute

    def heard(self: Any, query: Any, params: Any = None, **options: Any) -> Any:
        function = _sender()
        if function is not None and isinstance(query, str):
            asked.statements.setdefault((function, query), params)
        return execute(self, query, params, **options)

    with monkeypatch.context() as patched:
        patched.setattr(psycopg.Cursor, "execute", heard)
        yield asked


def _sender() -> str | None:
    """`module.Class.method` of the ledger's function that gives the driver a statement; None for those that open and
    close transactions."""
    code = sys._getframe(2).f_code
    path = Path(code.co_filename)
    if path.parent != LEDGER or path.stem in ("connections", "database"):
        return None
    return f"{path.stem}.{code.co_qualname.partition('.<locals>')[0]}"


def _live_through(house: SmallHouse) -> None:
    """A life with everything that happens to an index."""
    tools: dict[str, Any] = {"adapters": house.adapters, "settings": house.settings}
    house.texts.update({f"note-{number}": f"# Note {number}\n\nThe river of {number}.\n" for number in range(6)})
    house.texts["empty"] = ""
    house.run()
    house.texts["note-1"] += "\nIt rose, see [next](note-2).\n"
    del house.texts["note-5"]
    house.run()
    house.run()
    make_plan(RunRequest(SOURCE, "dry", dry_run=True), **tools)
    again = make_plan(RunRequest(SOURCE, "again", replay=QuarantineFilter(source=SOURCE)), **tools)
    report(again, adapters=house.adapters)
    house.wait_and_sweep()
    for build_id in ("first", "second"):
        swapped(made_ungated(build_id, adapters=house.adapters), adapters=house.adapters)
    house.texts["note-2"] += "\nIt fell.\n"
    house.run()
    rollback(next(each for each in house.ledger.versions.all() if each.state == "retired"), **tools)
    house.check()
    house.put_right()
    erasure = EraseRequest(uuid4(), Erased(source=SOURCE, uri="note-3"), requested_by="us", reason="asked for")
    erase(erasure, **tools)
    house.wait(house.settings.lease_seconds + house.settings.sweep_grace_seconds + 1)
    finish(erasure.erasure_id, **tools)
    begin_drop_of_old(**tools)
    drop_due(**tools)
    maintain(**tools)


def _asked_by_long_work(ledger: Ledger) -> None:
    """A lease that goes on, which no stage of this life takes long enough for."""
    ledger.runs.open(run_id="long", source=SOURCE, tenant="acme", request={})
    ledger.runs.keep(run_id="long", source=SOURCE)
    ledger.runs.release(run_id="long", source=SOURCE)
    ledger.building.begin("long", {})
    ledger.building.keep("long")
    ledger.building.release("long")


def _asked_by_gates_and_readers(ledger: Ledger) -> None:
    """What is read a page, a batch or a search at a time, by stages that this life leaves out."""
    plan_id = ids.plan_id(source=SOURCE, number=1)
    document_id = ids.document_id(tenant="acme", source=SOURCE, uri="note-1")
    keys = [GenerationKey(document_id, 1)]
    with ledger.snapshot() as snapshot:
        live = snapshot.live()
        snapshot.bases_of(plan_id, after=UUID(int=0), limit=100)
        snapshot.loaded_of(plan_id, [document_id])
        snapshot.verified_of(plan_id)
        snapshot.chunks_of(live, keys)
        snapshot.documents(live, [document_id])
        snapshot.stale(live, [document_id])
        snapshot.expected_of(live, SOURCE)
        snapshot.links(live)
    ledger.freshness.states()
    ledger.freshness.lag(SOURCE, window_seconds=3600, max_documents=1000)
    ledger.plans.kept(plan_id)
    ledger.runs.report("run-1")


def _heap(settings: Settings) -> None:
    """So many documents of another source in the live version, each of five chunks, and what PostgreSQL knows of it."""
    with connect(settings) as connection:
        connection.execute(_HEAP.format(documents=DOCUMENTS))  # type: ignore[arg-type]
        connection.execute("ANALYZE")


_HEAP = """
CREATE TEMPORARY TABLE heap AS SELECT n, md5('d' || n)::uuid AS document_id, md5('p' || n / 1000)::uuid AS plan_id,
    md5('b' || n / 20)::uuid AS batch_id, (SELECT version FROM index_versions WHERE state = 'live') AS version
    FROM generate_series(0, {documents} - 1) n;
INSERT INTO sources (source, tenant) VALUES ('heap', 'acme');
INSERT INTO runs (run_id, source, state, request) SELECT DISTINCT 'heap ' || plan_id, 'heap', 'published', '{{}}'::jsonb
    FROM heap;
INSERT INTO plans (plan_id, source, number, run_id, scope, index_version, epoch, state, made_at, ended_at)
    SELECT plan_id, 'heap', min(n), 'heap ' || plan_id, '', min(version), 0, 'published', now(), now()
    FROM heap GROUP BY plan_id;
INSERT INTO documents (document_id, tenant, source, uri, last_generation)
    SELECT document_id, 'acme', 'heap', 'heap/' || n, 1 FROM heap;
INSERT INTO plan_documents (plan_id, document_id, action, outcome)
    SELECT plan_id, document_id, 'add', 'committed' FROM heap;
INSERT INTO batches (batch_id, plan_id, index_version, state, token, holder, lease_until, manifest_digest)
    SELECT DISTINCT batch_id, plan_id, version, 'verified', 1, '', now(), '' FROM heap;
INSERT INTO generations (index_version, document_id, generation, batch_id, plan_id, state, dirty, fingerprint, stamp,
                         access, content_digest, chunk_count, writer_until)
    SELECT version, document_id, 1, batch_id, plan_id, 'current', false, 'f', 's', '{{public}}', 'c', 5, now()
    FROM heap;
INSERT INTO chunks (index_version, document_id, generation, ordinal, chunk_id, text_digest)
    SELECT version, document_id, 1, ordinal, md5(n || '.' || ordinal)::uuid, sha256((n || '.' || ordinal)::bytea)
    FROM heap, generate_series(0, 4) ordinal;
INSERT INTO links (index_version, document_id, generation, target_id, kind)
    SELECT version, document_id, 1, md5('d' || (n + 1))::uuid, 'links_to' FROM heap;
"""


# By function: what reads a large table as a whole, once a run, a build or a night and never once a batch or a page.
WHOLE = {
    "building.Building.differences": "a round of a build compares two versions",
    "building.Building.sources": "likewise",
    "building.lag_of": "likewise",
    "expiring.Expiring.kept": "maintenance asks what is still needed",
    "freshness.Freshness.lag": "the watch reads what was published within a window: beside this heap a share of all",
    "history.read_forbidden": "verify judges every row",
    "plans.Plans.known": "a plan compares every document",
    "reading.Snapshot.counts": "what the index holds in all",
    "reading.Snapshot.expected_of": "the gate of the stores counts a source",
    "reading.Snapshot.impact": "a plan says how much of the index it touches",
    "reading.Snapshot.kept": "verify asks whether an unfinished version holds anything; the first row answers",
    "reading.Snapshot.links": "verify compares all links",
    "reading.Snapshot.miscounted": "verify counts all chunks",
    "repairing.Repairing.still_damaged": "a repair says what waits for a new load",
    "runs.enter_source": "only of a source without a plan that is declared for another tenant",
}
# Not asked here: what has tables of its own, what fills an empty ledger, and what only a failure or a person asks.
OTHER_MODULES = ("alerting", "rebuilding")
UNASKED = {
    "batches.Batches.reject",
    "batches.Batches.release",
    "building.Building.is_closed",
    "building.Building.newest_of",
    "erasing.Erasing.unfinished",
    "erasure_steps.bar",
    "expiring.Expiring.due",
    "ledger.Ledger.ping",
    "ledger.Ledger.size_bytes",
    "quarantine.Quarantine._mark",
    "quarantine.Quarantine.count",
    "quarantine.Quarantine.rows",
    "quarantine.Quarantine.waiting",
    "repairing.Repairing.damaged",
    "repairing.Repairing.holding",
    "repairing.Repairing.raise_floors",
    "repairing.Repairing.relist",
    "repairing.Repairing.resettle",
    "runs._is_closed",
    "swapping.Swapping.droppable_in",
    "swapping.Swapping.forget",
    "swapping.Swapping.hold",
    "swapping.Swapping.let_go",
    "swapping.Swapping.retire",
    "verdicts.Verdicts.earlier_figures",
    "verdicts.Verdicts.newest",
    "verdicts.Verdicts.record",
}
# More rows than those of the largest page (`Snapshot.committed`) are no look by key.
_FEW_ROWS = 5_000


def _reads(plan: dict[str, Any], *, most: float = float("inf")) -> Iterator[str]:
    """Each node that reads a large table whole, or many rows of it; below a limit no more are read than it asks for."""
    if plan["Node Type"] == "Limit":
        most = min(most, plan["Plan Rows"])
    if plan.get("Relation Name") in LARGE and plan["Node Type"] != "ModifyTable":
        rows = min(most, plan["Plan Rows"])
        if plan["Node Type"] == "Seq Scan" or rows > _FEW_ROWS:
            yield f"{plan['Node Type']} on {plan['Relation Name']}, {rows} rows"
    # What is sorted or hashed is read to its end before the first row comes out.
    if plan["Node Type"] in ("Sort", "Hash", "Aggregate"):
        most = float("inf")
    for child in plan.get("Plans", ()):
        yield from _reads(child, most=most)


def _executing() -> set[str]:
    """Every function of the ledger's room that has a statement carried out, read from the code."""
    found: set[str] = set()
    for path in LEDGER.glob("*.py"):
        if path.stem in ("connections", "database"):
            continue
        for top in ast.parse(path.read_text()).body:
            functions = [top] if isinstance(top, ast.FunctionDef) else []
            if isinstance(top, ast.ClassDef):
                functions = [each for each in top.body if isinstance(each, ast.FunctionDef)]
            for function in functions:
                calls = (each.func for each in ast.walk(function) if isinstance(each, ast.Call))
                if any(isinstance(call, ast.Attribute) and call.attr == "execute" for call in calls):
                    owner = f"{top.name}." if isinstance(top, ast.ClassDef) else ""
                    found.add(f"{path.stem}.{owner}{function.name}")
    return found


def test_nothing_that_is_asked_once_a_batch_or_a_page_reads_a_large_table_through(
    ledger: Ledger, stack: Settings, tmp_path: Path, parser: Parser, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening(monkeypatch) as asked:
        _live_through(SmallHouse(ledger, stack, staging=tmp_path, parser=parser))
        _asked_by_long_work(ledger)
        _asked_by_gates_and_readers(ledger)
    unasked = {each for each in _executing() - asked.functions if not each.startswith(OTHER_MODULES)}
    assert unasked <= UNASKED, "a statement that no test of plans sends: ask it in `_live_through`, or name it"
    _heap(stack)
    found: dict[str, list[str]] = {}
    with connect(stack) as connection:
        for (function, statement), values in asked.statements.items():
            (plans,) = connection.execute(f"EXPLAIN (FORMAT JSON) {statement}", values).fetchone() or ([],)  # type: ignore[arg-type]
            if reads := list(_reads(plans[0]["Plan"])):  # type: ignore[index]
                found.setdefault(function, []).extend(reads)
    assert {function: reads for function, reads in found.items() if function not in WHOLE} == {}
