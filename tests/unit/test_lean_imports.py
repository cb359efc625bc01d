"""Libraries are imported without what the product never uses; whoever else imports that gets it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from concordance.lean_imports import without

# A process of its own: what a test before it imported would be there.
OPENED = """
import json, sys
from concordance.settings import Settings
from concordance.stores import open_graph, open_vectors
settings = Settings(neo4j_password="p", qdrant_api_key="k")
open_vectors(settings).close()
open_graph(settings).close()
left_out = sorted({"pandas", "pyarrow"} & set(sys.modules))
from qdrant_client import models
waiting = not models.QueryRequest.__pydantic_complete__
asked = models.QueryRequest(query=[0.5], filter=models.Filter(must=[])).model_dump(exclude_none=True)
import pandas
print(json.dumps([left_out, waiting, asked]))
"""
IN_TWO_THREADS = """
import json, threading
from concordance.lean_imports import without
found = []
with without("colorsys"):
    try:
        import colorsys
    except ModuleNotFoundError:
        found.append("hidden")
    def other():
        import colorsys
        found.append("there for others")
    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
import colorsys
found.append("there again")
print(json.dumps(found))
"""


def told_by(script: str) -> Any:
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_the_stores_are_opened_without_pandas_and_the_client_builds_a_model_when_it_is_used() -> None:
    left_out, waiting, asked = told_by(OPENED)
    assert left_out == []
    assert waiting
    assert asked == {"query": [0.5], "filter": {"must": []}}


def test_a_module_is_left_out_in_one_block_and_thread_alone() -> None:
    assert told_by(IN_TWO_THREADS) == ["hidden", "there for others", "there again"]


def test_whoever_is_looking_for_a_module_meanwhile_misses_none_of_those_who_find_them() -> None:
    with without("a_module_that_nobody_has"):
        looked_through = sys.meta_path
        at_first = list(looked_through)
    assert looked_through == at_first
    assert sys.meta_path == at_first[1:]
