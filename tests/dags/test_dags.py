"""Every DAG can be read, says who owns it and what it does, and costs little to parse."""

from __future__ import annotations

from graphlib import TopologicalSorter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from concordance.operations.slas import DEFERRED, load_slas
from concordance.pipeline.conf import RunConf
from concordance.reindex.conf import ReindexConf, VersionConf
from concordance.settings import ROOT, load_settings
from concordance.watching.runs import BEHIND_APPROVAL, DAGS
from support.airflow_home import parse

ORDER = [
    "plan",
    "approve",
    "begin",
    "extract",
    "check_documents",
    "embed",
    "check_chunks",
    "load",
    "check_stores",
    "publish",
    "report",
]


def tasks(dags: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(dag_id, task_id, task) for dag_id, dag in dags["dags"].items() for task_id, task in dag["tasks"].items()]


def test_every_file_is_imported_without_an_error(dags: dict[str, Any]) -> None:
    assert dags["import_errors"] == {}
    assert set(dags["dags"]) == {path.stem for path in (ROOT / "dags").glob("*.py")}


def test_dags_and_plugins_load_no_driver_no_model_library_and_no_web_framework(dags: dict[str, Any]) -> None:
    assert dags["heavy"] == []
    assert dags["links"] == ["Gate result"]


def test_parsing_costs_less_than_two_seconds_of_a_processor(dags: dict[str, Any]) -> None:
    # Not the time on the clock, which depends on what else the machine does.
    assert dags["parse_cpu_seconds"] < 2


def test_no_dag_runs_in_a_circle_and_the_run_goes_in_its_order(dags: dict[str, Any]) -> None:
    for dag in dags["dags"].values():
        list(TopologicalSorter({name: task["upstream"] for name, task in dag["tasks"].items()}).static_order())
    ingest = dags["dags"]["concordance_ingest"]["tasks"]
    assert list(TopologicalSorter({name: task["upstream"] for name, task in ingest.items()}).static_order()) == ORDER


def test_every_dag_says_what_it_is_for(dags: dict[str, Any]) -> None:
    for dag_id, dag in dags["dags"].items():
        assert dag["doc"], dag_id
        assert "concordance" in dag["tags"], dag_id


def test_every_task_has_an_owner_a_limit_retries_by_error_class_and_a_description(dags: dict[str, Any]) -> None:
    for dag_id, task_id, task in tasks(dags):
        where = f"{dag_id}.{task_id}"
        assert task["owner"] == "concordance", where
        assert task["timeout_seconds"], where
        assert task["retries"] >= 1, where
        assert task["retry_policy"] == "RetryByError", where
        assert task["doc"], where


def test_no_task_keeps_what_it_returns_key_by_key(dags: dict[str, Any]) -> None:
    """Airflow does so by itself for each task whose annotation is a dictionary: one request for each key."""
    assert [f"{dag_id}.{task_id}" for dag_id, task_id, task in tasks(dags) if task["is_kept_by_key"]] == []


def test_every_pool_is_one_that_is_created(dags: dict[str, Any], glue: ModuleType) -> None:
    created = {pool.name for pool in glue.POOLS} | {"default_pool"}
    assert {task["pool"] for _, _, task in tasks(dags)} <= created


def test_mapped_tasks_carry_names_that_a_person_can_read(dags: dict[str, Any]) -> None:
    assert all(task["label"] for _, _, task in tasks(dags) if task["is_mapped"])


def test_encoding_waits_for_its_one_slot_and_only_publish_updates_the_index(dags: dict[str, Any]) -> None:
    ingest = dags["dags"]["concordance_ingest"]["tasks"]
    assert ingest["embed"]["pool"] == "concordance_embed"
    assert [name for name, task in ingest.items() if task["outlets"]] == ["publish"]


def test_a_failed_stage_cannot_end_as_success(dags: dict[str, Any]) -> None:
    ingest = dags["dags"]["concordance_ingest"]["tasks"]
    # The last task decides the run's state: it may follow skipped tasks, never failed ones.
    assert ingest["report"]["trigger_rule"] == "none_failed"
    # Nobody is asked about a usual plan: it begins although `approve` was skipped.
    assert ingest["begin"]["trigger_rule"] == "none_failed"
    others = ingest.keys() - {"begin", "report"}
    assert {ingest[name]["trigger_rule"] for name in others} == {"all_success"}


def test_a_run_that_waits_for_a_person_may_wait_its_whole_time(dags: dict[str, Any]) -> None:
    ingest = dags["dags"]["concordance_ingest"]["tasks"]
    assert ingest["begin"]["upstream"] == ["approve", "plan"]
    assert ingest["extract"]["upstream"] == ["begin"]


def test_every_run_has_a_deadline_by_the_limits_that_are_declared(dags: dict[str, Any]) -> None:
    assert {dag["deadlines"] for dag in dags["dags"].values()} == {1}


def test_the_limits_that_are_declared_name_dags_and_tasks_that_there_are(dags: dict[str, Any]) -> None:
    declared = load_slas(load_settings(environment={}))
    assert declared.dags == set(dags["dags"])
    for table in declared.tables:
        assert table.stage is None or table.stage in dags["dags"][table.dag]["tasks"]
        assert table.source is None


def test_the_watch_looks_at_the_dags_that_there_are(dags: dict[str, Any]) -> None:
    assert set(dags["dags"]) == DAGS


def test_the_stages_that_wait_in_the_triggerer_are_known_where_limits_are_checked(dags: dict[str, Any]) -> None:
    waiting = {
        (dag, name) for dag, one in dags["dags"].items() for name, of in one["tasks"].items() if of["is_deferred"]
    }
    assert waiting == set(DEFERRED)


def test_the_task_behind_each_approval_is_known_to_the_watch(dags: dict[str, Any]) -> None:
    asking = [dag["tasks"] for dag in dags["dags"].values() if "approve" in dag["tasks"]]
    behind = {name for tasks in asking for name, one in tasks.items() if "approve" in one["upstream"]}
    assert behind == set(BEHIND_APPROVAL)


def test_a_wrong_file_of_limits_takes_the_deadlines_and_no_dag(tmp_path: Path) -> None:
    wrong = tmp_path / "slas.toml"
    wrong.write_text('[[sla]]\ndag = "concordance_ingest"\nattempt_seconds = 5\n')
    described = parse(tmp_path, environment={"AIRFLOW__CONCORDANCE__SLAS_FILE": str(wrong)})
    assert described["import_errors"] == {}
    assert {dag["deadlines"] for dag in described["dags"].values()} == {0}


def test_the_form_asks_exactly_for_what_a_run_takes(dags: dict[str, Any], glue: ModuleType) -> None:
    assert dags["dags"]["concordance_ingest"]["params"] == sorted(RunConf.model_fields)


def test_an_erase_asks_a_person_before_it_hides_anything(dags: dict[str, Any]) -> None:
    erase = dags["dags"]["concordance_erase"]
    order = list(TopologicalSorter({name: task["upstream"] for name, task in erase["tasks"].items()}).static_order())
    assert order == ["request", "approve", "hide", "wait", "finish"]
    assert {task["trigger_rule"] for task in erase["tasks"].values()} == {"all_success"}
    assert erase["params"] == ["pattern", "reason", "source", "tenant", "uri"]


def test_a_replay_asks_for_source_reason_and_age_and_holds_no_worker_while_it_waits(dags: dict[str, Any]) -> None:
    replay = dags["dags"]["concordance_quarantine_replay"]
    assert replay["params"] == ["older_than_hours", "reason", "source"]
    order = TopologicalSorter({name: task["upstream"] for name, task in replay["tasks"].items()}).static_order()
    assert list(order) == ["sources_with_quarantine", "replay"]


BUILT = ["plan", "remake", "check_documents", "embed", "check_chunks", "load", "check_stores", "commit"]
NIGHT = ["scheduled_sources", "ingest", "check_live", "begin", *BUILT]
SWAPPED = ["catch_up", "check_parity", "check_relevance", "publish", "drop", "report"]


def test_a_night_refreshes_compares_builds_checks_and_only_then_publishes(dags: dict[str, Any]) -> None:
    night = dags["dags"]["concordance_nightly_reindex"]["tasks"]
    assert list(TopologicalSorter({name: task["upstream"] for name, task in night.items()}).static_order()) == [
        *NIGHT,
        *SWAPPED,
    ]
    # Both gates must have passed, and nothing that follows a gate starts beside it.
    assert night["check_relevance"]["upstream"] == ["catch_up", "check_parity"]
    assert night["publish"]["upstream"] == ["catch_up", "check_relevance"]


def test_a_night_goes_on_after_what_was_skipped_and_never_after_what_failed(dags: dict[str, Any]) -> None:
    night = dags["dags"]["concordance_nightly_reindex"]["tasks"]
    lenient = {name for name, task in night.items() if task["trigger_rule"] == "none_failed"}
    assert lenient == {"check_live", "catch_up", "drop", "report"}
    assert {night[name]["trigger_rule"] for name in night.keys() - lenient} == {"all_success"}


def test_a_build_shares_the_pools_of_the_ingests_which_go_first(dags: dict[str, Any]) -> None:
    night, ingest = (dags["dags"][dag]["tasks"] for dag in ("concordance_nightly_reindex", "concordance_ingest"))
    for beside, first in (("remake", "extract"), ("embed", "embed"), ("load", "load")):
        assert night[beside]["pool"] == ingest[first]["pool"]
        assert night[beside]["weight"] == ["absolute", 1]
        # What hangs on a task counts with it: an ingest's weighs more than 1.
        assert ingest[first]["weight"] == ["downstream", 1]
    assert {task["pool"] for name, task in night.items() if name not in ("remake", "embed", "load")} == {"default_pool"}


def test_one_night_at_a_time(dags: dict[str, Any]) -> None:
    assert dags["dags"]["concordance_nightly_reindex"]["max_active_runs"] == 1


def test_a_version_is_acted_on_only_after_a_person_was_asked(dags: dict[str, Any]) -> None:
    index = dags["dags"]["concordance_index"]["tasks"]
    order = TopologicalSorter({name: task["upstream"] for name, task in index.items()}).static_order()
    assert list(order) == ["look", "approve", "act"]
    assert {task["trigger_rule"] for task in index.values()} == {"all_success"}


def test_only_what_makes_something_visible_updates_the_index(dags: dict[str, Any]) -> None:
    updating = [(dag_id, task_id) for dag_id, task_id, task in tasks(dags) if "concordance_index" in task["outlets"]]
    assert sorted(updating) == [
        ("concordance_index", "act"),
        ("concordance_ingest", "publish"),
        ("concordance_nightly_reindex", "publish"),
    ]


@pytest.mark.parametrize(
    ("dag", "conf"), [("concordance_nightly_reindex", ReindexConf), ("concordance_index", VersionConf)]
)
def test_the_forms_of_index_versions_ask_exactly_for_what_is_taken(dags: dict[str, Any], dag: str, conf: Any) -> None:
    assert dags["dags"][dag]["params"] == sorted(conf.model_fields)


def test_the_nightly_run_and_reconcile_are_on_the_clock_and_the_ingest_is_not(dags: dict[str, Any]) -> None:
    scheduled = {dag_id for dag_id, dag in dags["dags"].items() if dag["is_scheduled"]}
    assert scheduled == {"concordance_maintenance", "concordance_nightly_reindex", "concordance_reconcile"}
    # A new deployment begins with the next time, not with the last one.
    assert not any(dags["dags"][dag_id]["makes_up"] for dag_id in scheduled)


def test_a_wrong_sources_file_is_an_import_error_that_says_what_to_do(tmp_path: Path) -> None:
    wrong = tmp_path / "sources.toml"
    wrong.write_text('[[source]]\nname = "x"\nkind = "files"\ntenant = "t"\ncolour = "blue"\n')
    described = parse(tmp_path, environment={"AIRFLOW__CONCORDANCE__SOURCES_FILE": str(wrong)})
    assert "unknown key 'colour'" in described["import_errors"]["concordance_ingest.py"]


@pytest.mark.parametrize("path", sorted((ROOT / "plugins").rglob("*.py")), ids=lambda path: path.name)
def test_plugins_are_flat_files_with_names_of_their_own(path: Path) -> None:
    # Airflow imports every file below plugins/ by its bare name.
    assert path.parent == ROOT / "plugins"
    assert path.stem.startswith("concordance_")
