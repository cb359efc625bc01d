"""The DAG of an erase: what its form takes, who is named as asking, and that it waits without a worker."""

from __future__ import annotations

import importlib.util
import warnings
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from concordance.errors import Misconfigured
from concordance.ledger.erasure_scope import Scope
from concordance.pipeline.conf import checked_conf
from concordance.settings import ROOT

NOTHING: dict[str, Any] = {"source": None, "uri": None, "pattern": None, "tenant": None, "reason": ""}


@pytest.fixture(scope="module")
def erase(glue: ModuleType) -> ModuleType:
    """The DAG's file, imported under the glue's Airflow home."""
    spec = importlib.util.spec_from_file_location("erase_dag", ROOT / "dags" / "concordance_erase.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        # Airflow's own imports deprecate each other.
        warnings.simplefilter("ignore")
        spec.loader.exec_module(module)
    return module


def scope(erase: ModuleType, **given: Any) -> Scope:
    conf = checked_conf(erase.EraseConf, given, {**NOTHING, **given})
    found: Scope = conf.scope()
    return found


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"source": "notes", "uri": "a.md"}, {"source": "notes", "uri": "a.md"}),
        ({"source": "notes", "uri": "", "pattern": "**/*.md"}, {"source": "notes", "pattern": "**/*.md"}),
        ({"source": "", "tenant": "acme"}, {"tenant": "acme"}),
    ],
)
def test_an_empty_field_is_no_field(erase: ModuleType, given: dict[str, Any], meant: dict[str, str]) -> None:
    assert scope(erase, **given) == Scope(**meant)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"source": "notes"},
        {"source": "notes", "uri": "a", "pattern": "b"},
        {"source": "notes", "tenant": "acme"},
        {"source": "notes", "uri": "a", "reason": "x" * 501},
        {"source": 7, "uri": "a"},
        {"source": "notes", "uri": "a", "colour": "blue"},
    ],
)
def test_anything_else_is_refused_by_the_first_task(erase: ModuleType, given: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured):
        scope(erase, **given)


def test_the_receipt_names_who_asked_and_who_approved(erase: ModuleType) -> None:
    run = SimpleNamespace(triggering_user_name="ann")
    assert erase.approvals.asked_by(run, {"responded_by_user": {"id": "2", "name": "bob"}}) == "ann, approved by bob"
    assert erase.approvals.asked_by(SimpleNamespace(), None) == "unknown, approved by unknown"


def test_it_waits_for_a_person_and_for_the_grace_without_a_worker(erase: ModuleType) -> None:
    dag = erase.concordance_erase()
    approve, wait = dag.get_task("approve"), dag.get_task("wait")
    assert approve.defaults == ["Reject"]
    assert approve.response_timeout.days == 2
    assert wait.mode == "reschedule"
