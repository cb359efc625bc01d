"""The DAGs of index versions: what a night is asked for, which sources it refreshes, and what a person is shown."""

from __future__ import annotations

import importlib.util
import warnings
from datetime import UTC, datetime
from types import ModuleType, SimpleNamespace
from typing import Any

import jinja2
import pytest

from concordance.errors import Misconfigured
from concordance.operations import correlation
from concordance.pipeline.conf import checked_conf
from concordance.reindex.conf import ReindexConf, VersionConf
from concordance.settings import ROOT

SUNDAY, MONDAY = datetime(2026, 11, 22, 2, tzinfo=UTC), datetime(2026, 11, 23, 2, tzinfo=UTC)


def module(name: str) -> ModuleType:
    """A DAG's file, imported under the glue's Airflow home."""
    spec = importlib.util.spec_from_file_location(f"{name}_dag", ROOT / "dags" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        # Airflow's own imports deprecate each other.
        warnings.simplefilter("ignore")
        spec.loader.exec_module(found)
    return found


@pytest.fixture(scope="module")
def night(glue: ModuleType) -> ModuleType:
    return module("concordance_nightly_reindex")


@pytest.fixture(scope="module")
def index(glue: ModuleType) -> ModuleType:
    return module("concordance_index")


def form(params: Any) -> dict[str, Any]:
    """The values of a form that nobody touched."""
    return {name: param.value for name, param in params.items() if param.has_value}


def refreshed(night: ModuleType, monkeypatch: pytest.MonkeyPatch, **conf: Any) -> list[str]:
    sources = {name: SimpleNamespace(schedule=name != "by_hand") for name in ("notes", "by_hand", "archive")}
    monkeypatch.setattr(night, "SOURCES", sources)
    params = {**form(night.forms.reindex_form(sources)), **conf}
    listed = night.scheduled_sources.function(run_id="r", params=params, dag_run=SimpleNamespace(conf=conf))
    assert [each["trigger_run_id"] for each in listed] == [f"r__{each['conf']['source']}" for each in listed]
    # What the night triggers is found by the night's id.
    assert {each["conf"]["correlation_id"] for each in listed} <= {correlation.of_run("r")}
    return [each["conf"]["source"] for each in listed]


def test_a_night_refreshes_the_scheduled_sources_or_the_one_that_is_named(
    night: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refreshed(night, monkeypatch) == ["archive", "notes"]
    assert refreshed(night, monkeypatch, mode="refresh") == ["archive", "notes"]
    assert refreshed(night, monkeypatch, source="by_hand") == ["by_hand"]
    assert refreshed(night, monkeypatch, mode="rebuild") == []


@pytest.mark.parametrize(
    ("conf", "word"),
    [
        ({"mode": "perhaps"}, "mode"),
        ({"sauce": "extra"}, "unknown keys: sauce"),
        ({"publish": "no"}, "publish"),
        ({"mode": "refresh", "chunk_max_tokens": 90}, "chunk_max_tokens: a refresh builds no version"),
        ({"mode": "rebuild", "source": "notes"}, "a rebuild is of every source"),
        ({"mode": "rebuild", "chunk_max_tokens": 31}, "CHUNK_MAX_TOKENS = 31"),
        ({"mode": "rebuild", "chunk_max_tokens": 100}, "chunk_min_tokens must be below chunk_max_tokens"),
        ({"bm25_b": 1.5}, "BM25_B"),
    ],
)
def test_what_a_night_cannot_do_is_refused_before_anything_is_refreshed(
    night: ModuleType, monkeypatch: pytest.MonkeyPatch, conf: dict[str, Any], word: str
) -> None:
    with pytest.raises(Misconfigured) as refused:
        refreshed(night, monkeypatch, **conf)
    assert word in str(refused.value)


@pytest.mark.parametrize(
    ("is_scheduled", "run_after", "weekday", "is_weekly"),
    [(True, SUNDAY, 6, True), (True, MONDAY, 6, False), (False, SUNDAY, 6, False), (True, SUNDAY, -1, False)],
)
def test_the_weekly_night_is_the_one_of_the_clock(
    is_scheduled: bool, run_after: datetime, weekday: int, is_weekly: bool
) -> None:
    conf = ReindexConf()
    asked = conf.request("b", requested_by="x", is_scheduled=is_scheduled, weekday=weekday, run_after=run_after)
    assert asked.is_weekly_night is is_weekly


def test_what_was_chosen_in_the_form_is_what_the_version_is_built_with() -> None:
    conf = ReindexConf(mode="rebuild", chunk_max_tokens=90, bm25_b=0, publish=False)
    asked = conf.request("b", requested_by="x" * 300, is_scheduled=False, weekday=6, run_after=SUNDAY)
    assert (asked.mode, asked.overrides, asked.publish) == ("rebuild", {"chunk_max_tokens": 90, "bm25_b": 0}, False)
    assert len(asked.requested_by) == 200


@pytest.mark.parametrize("run_type", ["scheduled", SimpleNamespace(value="scheduled")])
def test_a_night_of_the_clock_is_told_from_one_by_hand(glue: ModuleType, run_type: Any) -> None:
    assert glue.is_scheduled(SimpleNamespace(run_type=run_type))
    assert not glue.is_scheduled(SimpleNamespace(run_type="manual"))


@pytest.mark.parametrize(
    ("conf", "word"),
    [
        ({}, "action: Field required"),
        ({"action": "burn", "version": 2}, "action"),
        ({"action": "drop"}, "version: Field required"),
        ({"action": "drop", "version": 0}, "version"),
        ({"action": "drop", "version": 2, "accepts": "why not"}, "a drop passes no gate"),
    ],
)
def test_what_cannot_be_done_to_a_version_is_refused(conf: dict[str, Any], word: str) -> None:
    with pytest.raises(Misconfigured, match=word):
        checked_conf(VersionConf, conf, conf)


def shown(index: ModuleType, params: dict[str, Any], **seen: Any) -> str:
    """What a person reads who is asked."""
    row = {"state": "retired", "documents": 12, "chunks": 40}
    look = {"live": {**row, "version": 3, "state": "live", "behind": 0}, "version": {**row, "version": 2, "behind": 5}}
    ti = SimpleNamespace(xcom_pull=lambda task_ids: {**look, "why": "", **seen})
    return (
        jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=True)
        .from_string(index.SUMMARY)
        .render(ti=ti, params=params)
    )


def test_a_person_is_shown_both_versions_as_a_table_and_what_would_happen(index: ModuleType) -> None:
    body = shown(index, {"action": "rollback", "version": 2, "accepts": ""})
    assert (
        "\n| | version | state | documents | chunks | documents behind |\n|---|---|---|---|---|---|\n"
        "| live now | 3 | live | 12 | 40 | 0 |\n| this one | 2 | retired | 12 | 40 | 5 |\n\n"
    ) in body
    assert "It goes live at once." in body
    assert "gate" not in body


def test_a_person_is_told_why_a_gate_stopped_it_and_why_that_is_accepted(index: ModuleType) -> None:
    publish = {"action": "publish", "version": 2, "accepts": "the queries are old"}
    body = shown(index, publish, why="refused: it finds worse")
    assert "Its last build ended as refused: it finds worse" in body
    assert "A failed relevance gate is accepted, because: the queries are old" in body


def test_a_task_tells_in_numbers_what_was_done_and_leaves_the_gates_to_their_pages(glue: ModuleType) -> None:
    said = {"made": {"committed": 3}, "relevance": {"message": "long"}, "parity": {}, "reasons": ["the weekly night"]}
    assert glue.in_numbers({"state": "published", "version": 4, "said": said}) == {
        "state": "published",
        "version": 4,
        "reasons": ["the weekly night"],
        "made": {"committed": 3},
    }
    assert glue.in_numbers({"dropped": [2], "waiting": {}}) == {"dropped": [2], "waiting": {}}
