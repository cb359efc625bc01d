"""What was answered survives a kill; several clients at once lose nothing."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from qdrant_client import QdrantClient, models

from support.gateway_points import Made, create_collection, made_points, upsert
from support.gateways import ROOT, RunningGateway, gateway
from support.waiting import wait_for

ROUNDS = 6


class Writer(threading.Thread):
    """Upserts, changes and deletes until the gateway dies; knows what was answered and what was on its way."""

    def __init__(self, client: QdrantClient, points: list[Made], state: dict[str, bool], dice: random.Random) -> None:
        super().__init__()
        self.answered = state
        self.under_way: set[str] = set()
        self.steps = 0
        self._client, self._points, self._dice = client, points, dice

    def run(self) -> None:
        while True:
            chosen = self._dice.sample(self._points, 5)
            self.under_way = {each.id for each in chosen}
            try:
                self._step(chosen)
            except Exception:
                return  # the gateway was killed; what was under way may or may not be there
            self.steps += 1

    def _step(self, chosen: list[Made]) -> None:
        ids = [each.id for each in chosen]
        action = self._dice.choice(["upsert", "upsert", "delete", "set"])
        if action == "upsert":
            upsert(self._client, chosen)
            self.answered |= dict.fromkeys(ids, False)
        elif action == "delete":
            self._client.delete("docs", ids)
            for each in ids:
                self.answered.pop(each, None)
        else:
            known = models.Filter(must=[models.HasIdCondition(has_id=ids)])
            self._client.set_payload("docs", {"live": True}, points=known)
            self.answered |= {each: True for each in ids if each in self.answered}


def stored(client: QdrantClient) -> dict[str, bool]:
    found, _ = client.scroll("docs", limit=10_000)
    return {str(each.id): bool(each.payload and each.payload["live"]) for each in found}


@pytest.mark.parametrize("seed", [1, 2])
def test_no_answered_write_is_lost_when_the_gateway_is_killed(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    points = made_points(300, seed=seed)
    answered: dict[str, bool] = {}
    under_way: set[str] = set()
    for round_number in range(ROUNDS):
        running = RunningGateway(tmp_path)
        client = running.client()
        if round_number == 0:
            create_collection(client, indexing_threshold=5)
        found = stored(client)
        certain = answered.keys() - under_way
        assert {each: found.get(each) for each in certain} == {each: answered[each] for each in certain}
        assert found.keys() <= answered.keys() | under_way
        writer = Writer(client, points, found, dice)
        writer.start()
        wait_for_steps(writer, dice.randrange(1, 60))
        running.kill()
        writer.join()
        client.close()
        answered, under_way = writer.answered, writer.under_way


def wait_for_steps(writer: Writer, goal: int) -> None:
    wait_for(lambda: writer.steps >= goal or not writer.is_alive(), seconds=120, what=f"{goal} writes")
    assert writer.steps >= goal


def test_aliases_and_collections_survive_a_kill_whole(tmp_path: Path) -> None:
    running = RunningGateway(tmp_path)
    client = running.client()
    for name in ("v1", "v2"):
        create_collection(client, name)
    flips = ["v1"]

    def flip() -> None:
        while True:
            target = "v2" if flips[-1] == "v1" else "v1"
            change = models.CreateAliasOperation(
                create_alias=models.CreateAlias(alias_name="current", collection_name=target)
            )
            try:
                client.update_collection_aliases([change])
            except Exception:
                return
            flips.append(target)

    thread = threading.Thread(target=flip)
    thread.start()
    wait_for(lambda: len(flips) > 20, what="some flips")
    running.kill()
    thread.join()
    client.close()
    with gateway(tmp_path) as restarted:
        reader = restarted.client()
        (alias,) = reader.get_aliases().aliases
        other = "v2" if flips[-1] == "v1" else "v1"
        assert alias.collection_name in (flips[-1], other)
        assert {each.name for each in reader.get_collections().collections} == {"v1", "v2"}
        reader.close()


def test_a_kill_while_an_index_is_built_loses_nothing_and_leaves_no_folder(tmp_path: Path) -> None:
    points = made_points(3000, seed=5)
    running = RunningGateway(tmp_path)
    client = running.client()
    create_collection(client, indexing_threshold=100)
    upsert(client, points)
    wait_for(lambda: len(list((tmp_path / "shards").iterdir())) == 2, what="the copy")
    upsert(client, made_points(50, seed=6))
    running.kill()
    client.close()
    with gateway(tmp_path) as restarted:
        reader = restarted.client()
        assert reader.count("docs").count == 3050
        wait_for(
            lambda: (reader.get_collection("docs").indexed_vectors_count or 0) >= 3050 + 3000,
            seconds=120,
            what="the index",
        )
        assert reader.count("docs").count == 3050
        wait_for(lambda: len(list((tmp_path / "shards").iterdir())) == 1, what="one folder")
        reader.close()


def test_a_stop_in_the_middle_of_a_build_is_orderly(tmp_path: Path) -> None:
    with gateway(tmp_path) as running:
        client = running.client()
        create_collection(client, indexing_threshold=100)
        upsert(client, made_points(3000, seed=5))
        wait_for(lambda: len(list((tmp_path / "shards").iterdir())) == 2, what="the copy")
        client.close()
        assert running.stop() == 0
    assert len(list((tmp_path / "shards").iterdir())) == 1


WRITER = """
import sys
import warnings
from qdrant_client import QdrantClient
from support.gateway_points import made_points, upsert
warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
url, key, seed = sys.argv[1:]
client = QdrantClient(url=url, api_key=key, timeout=60, check_compatibility=False)
points = made_points(300, seed=int(seed))
for collection in ("shared", "own" + seed):
    upsert(client, points, collection, batch=50)
    client.delete(collection, [each.id for each in points[:100]])
    client.set_payload(collection, {"live": True}, points=[each.id for each in points[100:200]])
"""


def test_several_processes_write_to_the_same_and_to_different_collections_at_once(tmp_path: Path) -> None:
    seeds = ["1", "2", "3"]
    with gateway(tmp_path) as running:
        client = running.client()
        for name in ("shared", *(f"own{seed}" for seed in seeds)):
            create_collection(client, name, indexing_threshold=10)
        writers = [
            subprocess.Popen(
                [sys.executable, "-W", "error", "-c", WRITER, running.url, running.key, seed],
                env={"PYTHONPATH": str(ROOT / "tests")},
            )
            for seed in seeds
        ]
        assert [writer.wait(timeout=120) for writer in writers] == [0] * len(writers)
        made = {seed: [each.id for each in made_points(300, seed=int(seed))[100:]] for seed in seeds}
        expected = {f"own{seed}": set(ids) for seed, ids in made.items()}
        expected["shared"] = set().union(*made.values())
        for name, ids in expected.items():
            found, _ = client.scroll(name, limit=10_000)
            assert {str(each.id) for each in found} == ids
            assert sum(bool(each.payload and each.payload["live"]) for each in found) == len(ids) // 2
        client.close()
