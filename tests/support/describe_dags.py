"""Parse dags/ as the DAG processor does, load plugins/ as every process does, and print what came of it as JSON.

Run in a process of its own: what parsing imports can only be seen where nothing else was imported.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from datetime import timedelta
from typing import Any

HEAVY = (
    *("torch", "transformers", "sentence_transformers", "great_expectations", "pandas", "pyarrow"),
    *("neo4j", "qdrant_client", "psycopg", "psycopg2", "xberg", "semantic_text_splitter", "tokenizers"),
    *("fastapi", "jinja2", "concordance.serving"),
)


def describe(dag: Any) -> dict[str, Any]:
    return {
        "doc": dag.doc_md,
        "tags": sorted(dag.tags),
        "params": sorted(dag.params),
        "max_active_runs": dag.max_active_runs,
        "is_scheduled": dag.timetable.can_be_scheduled,
        "makes_up": getattr(dag.timetable, "run_immediately", None) != timedelta(0),
        "deadlines": len(dag.deadline or []),
        "tasks": {task.task_id: describe_task(task) for task in dag.tasks},
    }


def describe_task(task: Any) -> dict[str, Any]:
    mapped = getattr(task, "partial_kwargs", {})

    def of(name: str) -> Any:
        return mapped.get(name, getattr(task, name, None))

    timeout = of("execution_timeout")
    return {
        "doc": of("doc_md"),
        "owner": of("owner"),
        "retries": of("retries"),
        "retry_policy": type(of("retry_policy")).__name__,
        "timeout_seconds": timeout.total_seconds() if timeout else None,
        "pool": of("pool"),
        "weight": [str(getattr(of("weight_rule"), "value", of("weight_rule"))), of("priority_weight")],
        "trigger_rule": getattr(of("trigger_rule"), "value", of("trigger_rule")),
        "label": of("map_index_template"),
        "is_mapped": bool(mapped),
        "is_kept_by_key": bool(of("multiple_outputs")),
        "is_deferred": bool(of("deferrable")),
        "outlets": [outlet.name for outlet in of("outlets") or []],
        "upstream": sorted(task.upstream_task_ids),
    }


def main(folder: str) -> None:
    with contextlib.redirect_stdout(sys.stderr):
        from airflow import plugins_manager
        from airflow.dag_processing.dagbag import DagBag
        from airflow.serialization.serialized_objects import DagSerialization

        before = set(sys.modules)
        started = time.process_time()
        bag = DagBag(folder, bundle_name="dags-folder")
        parse_cpu_seconds = time.process_time() - started
        links = plugins_manager.get_global_operator_extra_links()
        imported = set(sys.modules) - before
        for dag in bag.dags.values():
            DagSerialization.to_dict(dag)
    print(
        json.dumps(
            {
                "import_errors": {path.rsplit("/", 1)[-1]: error for path, error in bag.import_errors.items()},
                "dags": {dag_id: describe(dag) for dag_id, dag in bag.dags.items()},
                "links": [link.name for link in links],
                "heavy": sorted(set(HEAVY) & imported),
                "parse_cpu_seconds": parse_cpu_seconds,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
