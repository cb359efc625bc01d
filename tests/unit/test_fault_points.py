"""Every side effect has a named point before and after it: read from the code, so that a new one without fails here."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from concordance import fault_points

PRODUCT = Path(__file__).resolve().parents[2] / "include" / "concordance"
# What these modules do to the stores, the ledger and the staging area is what crashes can tear apart.
MODULES = sorted(
    module
    for room in ("pipeline", "consistency", "reindex", "watching", "expiry")
    for module in (PRODUCT / room).glob("*.py")
)
READS = {
    "graph": "ping read_back chunks neighbourhoods orphans pointer counts counts_of close generations_of scan contents "
    "chunk_rows anchors documents altered_entities mentioning loose schema_gaps description",
    "vectors": "ping read_back vectors points search pointer counts counts_of close generations_of drop_duplicates "
    "schema_gaps checked_vectors places index_state kept",
    "staging": "read find contents unreferred files leads_to",
    "expiring": "kept due",
    "freshness": "states lag",
    "repairing": "still_damaged plans_of plan_reference holding holding_live",
    "rebuilding": "is_empty",
    "batches": "links_to",
    "plans": "known rejected reasons outcomes kept",
    "publishing": "",
    "counting": "",
    "verdicts": "newest warnings earlier_figures",
    "quarantine": "rows count meant waiting",
    "runs": "report measured under_way",
    "settling": "to_settle to_hide",
    "alerting": "open recent get undelivered",
    "versions": "live building frozen get all unfinished",
    "building": "get newest_of sources differences lag is_closed",
    "swapping": "droppable_in retired",
    "erasing": "preview get seconds_left kept_versions documents clearing named erased_texts unfinished bars",
}
# Without a point, because only time looks at them: a lease renewed too often, or not at all, only ends later
# or sooner. (`open` takes the source's lease.)
LEASES = {
    ("runs", "open"),
    ("runs", "renew"),
    ("runs", "keep"),
    ("runs", "release"),
    ("building", "renew"),
    ("building", "keep"),
    ("building", "release"),
}
# `put` has its points inside; that a source is declared is entered once, and again by whoever looks next.
INSIDE = {("staging", "put"), ("freshness", "declare")}


def side_effects(tree: ast.Module) -> Iterator[tuple[ast.Call, str, str]]:
    """Calls on a store, a part of the ledger or the staging area that are not known to read only."""
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
            continue
        owner, method = ast.unparse(call.func.value).rpartition(".")[2], call.func.attr
        if owner in READS and method not in READS[owner].split() and (owner, method) not in LEASES | INSIDE:
            yield call, owner, method


def guarded(tree: ast.Module) -> set[int]:
    """Lines inside `with fault_points.around(...)`, or of a block whose last words are points of their own."""
    lines: set[int] = set()
    for block in ast.walk(tree):
        if isinstance(block, ast.With):
            said = ast.unparse(block)
            if any("fault_points.around" in ast.unparse(item.context_expr) for item in block.items) or (
                "fault_points.reach" in said
            ):
                lines.update(range(block.lineno, (block.end_lineno or block.lineno) + 1))
    return lines


def test_every_part_of_the_ledger_is_looked_at() -> None:
    opened = ast.parse((PRODUCT / "ledger" / "ledger.py").read_text())
    parts = {
        target.attr
        for node in ast.walk(opened)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Attribute) and not target.attr.startswith("_")
    }
    assert parts
    assert parts <= READS.keys()


@pytest.mark.parametrize("module", MODULES, ids=lambda module: f"{module.parent.name}/{module.name}")
def test_no_side_effect_is_without_its_points(module: Path) -> None:
    tree = ast.parse(module.read_text())
    without = [
        f"{module.name}:{call.lineno} {owner}.{method}"
        for call, owner, method in side_effects(tree)
        if call.lineno not in guarded(tree)
    ]
    assert not without, "put these inside `with fault_points.around(...)`, or name them as reads above"


def test_every_named_effect_is_in_the_code_and_every_point_in_the_code_is_named() -> None:
    used = set()
    for module in PRODUCT.rglob("*.py"):
        for call in ast.walk(ast.parse(module.read_text())):
            if isinstance(call, ast.Call) and ast.unparse(call.func) in ("fault_points.around", "fault_points.reach"):
                (name,) = call.args
                assert isinstance(name, ast.Constant), f"{module}: a point is named by a constant"
                used.add(str(name.value).removesuffix(".before").removesuffix(".after"))
    named = {point.rpartition(".")[0] for point in fault_points.POINTS}
    assert used == named
