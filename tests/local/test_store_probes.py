"""`status` asks the stores by their drivers, and says of a circuit no more than it can know."""

from __future__ import annotations

import json
from typing import Any

import pytest

from concordance.commands import stack as commands
from concordance.commands.parser import build_parser
from concordance.resilience import Store
from concordance.settings import Settings
from concordance.watching.health import STORES, ready
from support.silent_proxy import closed_port


def elsewhere(settings: Settings) -> Settings:
    """The same settings with addresses at which nobody listens."""
    port = closed_port()
    return settings.model_copy(
        update={
            "ledger_url": f"postgresql://writer@127.0.0.1:{port}/ledger",
            "neo4j_url": f"bolt://127.0.0.1:{port}",
            "qdrant_url": f"http://127.0.0.1:{port}",
        }
    )


def test_stores_that_run_answer_with_their_names_and_closed_circuits(stack: Settings) -> None:
    found = {str(each.dependency): each for each in ready(stack, STORES)}
    assert found.keys() == set(map(str, Store))
    assert all(each.answers for each in found.values())
    assert found[Store.LEDGER].server.startswith("PostgreSQL ")
    assert found[Store.GRAPH].server.startswith("Neo4j/")
    assert "qdrant" in found[Store.VECTORS].server.lower()
    assert {str(each.breaker) for each in found.values()} == {"closed, 0 of 5 failures"}


def test_a_store_that_is_not_there_is_asked_once_and_named_with_what_to_do(stack: Settings) -> None:
    found = ready(elsewhere(stack), STORES)
    assert not any(each.answers for each in found)
    assert {str(each.breaker) for each in found} == {"closed, 1 of 5 failures"}
    assert all("running?" in each.detail or "PostgreSQL up?" in each.detail for each in found)


@pytest.mark.usefixtures("ledger")
def test_status_is_unhealthy_when_a_service_runs_and_its_store_gives_no_answer(
    stack: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def status(settings: Settings) -> tuple[int, dict[str, Any]]:
        monkeypatch.setattr(commands, "read_settings", lambda arguments: settings)
        arguments = build_parser().parse_args(["status", "--json"])
        code = arguments.run(arguments)
        printed: dict[str, Any] = json.loads(capsys.readouterr().out)
        return code, printed

    code, printed = status(stack)
    assert (code, printed["healthy"]) == (0, True)
    assert {store["name"]: store["answers"] for store in printed["stores"]} == dict.fromkeys(map(str, Store), True)
    code, printed = status(elsewhere(stack))
    assert code == 1
    assert not any(store["answers"] for store in printed["stores"])
