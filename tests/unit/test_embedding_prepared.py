"""Prepared models: what is taken, what is refused and with which words, batches, profiles, memory that runs short."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from concordance.embedding import backends, model_folder, open_embedder, profile
from concordance.embedding.batches import batches_of
from concordance.embedding.conversion import calibration_texts, verification_texts
from concordance.embedding.fingerprint import file_digest
from concordance.embedding.models import named_model
from concordance.embedding.modules import pooling_of
from concordance.embedding.openvino_model import Encoder, PreparedEmbedder
from concordance.embedding.prepared import FILES, PreparedModel, folder_of
from concordance.embedding.preparing import prepare
from concordance.embedding.profile import Profile
from concordance.embedding.transformer import SentenceTransformersEmbedder
from concordance.errors import Misconfigured, Terminal
from concordance.settings import Settings

# --- batches


@given(lengths=st.lists(st.integers(1, 300), max_size=80), budget=st.integers(1, 2_000))
def test_each_text_is_in_one_batch_of_its_own_length_and_no_batch_outgrows_the_budget(
    lengths: list[int], budget: int
) -> None:
    batches = batches_of(lengths, budget_tokens=budget)
    assert sorted(row for rows in batches for row in rows) == list(range(len(lengths)))
    firsts = [lengths[rows[0]] for rows in batches]
    assert firsts == sorted(firsts, reverse=True)
    for rows in batches:
        assert len({lengths[row] for row in rows}) == 1
        assert len(rows) == 1 or len(rows) * lengths[rows[0]] <= budget


class SmallMemory:
    """A request that takes so many rows, and answers each with its first token."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._answer = np.zeros((0, 2), np.float32)

    def infer(self, inputs: dict[str, np.ndarray]) -> None:
        tokens = inputs["input_ids"]
        if len(tokens) > self._rows:
            raise RuntimeError("std::bad_alloc")
        self._answer = np.repeat(tokens[:, :1], 2, axis=1).astype(np.float32)

    def get_output_tensor(self, place: int) -> Any:
        return type("Tensor", (), {"data": self._answer})


def encoder(request: SmallMemory) -> Encoder:
    requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
    requests.put(request)
    return Encoder(requests, 1)


@pytest.mark.parametrize("rows", [1, 2, 5, 7])
def test_a_batch_that_is_too_large_for_the_memory_is_halved_and_loses_no_row(rows: int) -> None:
    tokens = np.arange(7 * 3, dtype=np.int64).reshape(7, 3)
    assert encoder(SmallMemory(rows)).encode(tokens)[:, 0].tolist() == tokens[:, 0].tolist()


def test_a_text_that_is_too_large_alone_is_an_error() -> None:
    with pytest.raises(RuntimeError):
        encoder(SmallMemory(0)).encode(np.ones((4, 3), np.int64))


# --- profiles


def test_a_probe_keeps_the_choice_for_the_next_process(tmp_path: Path) -> None:
    asked: list[int] = []

    def compiled(streams: int) -> Encoder:
        asked.append(streams)
        return Encoder(encoder(SmallMemory(1000)).requests, streams)

    chosen = profile.probed(compiled, folder=tmp_path, window_tokens=64, seconds=5)
    assert asked[0] == profile.usual().streams
    assert profile.read_profile(tmp_path) == chosen


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"streams": 0, "batch_tokens": 1}', '{"streams": 9e9}'])
def test_a_torn_profile_is_none(tmp_path: Path, content: str) -> None:
    chosen = profile.probed(
        lambda streams: Encoder(encoder(SmallMemory(1000)).requests, streams),
        folder=tmp_path,
        window_tokens=64,
        seconds=0.001,
    )
    assert profile.read_profile(tmp_path) == chosen
    (kept,) = tmp_path.iterdir()
    kept.write_text(content)
    assert profile.read_profile(tmp_path) is None


def test_without_time_for_a_probe_the_usual_profile_is_taken_and_not_kept(tmp_path: Path) -> None:
    def compiled(streams: int) -> Encoder:
        raise AssertionError("nothing may be compiled")

    assert profile.probed(compiled, folder=tmp_path, window_tokens=64, seconds=0) == profile.usual()
    assert list(tmp_path.iterdir()) == []
    assert isinstance(profile.usual(), Profile)


# --- which models can be prepared


def model(folder: Path, *, types: tuple[str, ...], pooling: dict[str, Any], prompt: str | None = None) -> Path:
    modules = [{"idx": place, "path": f"{place}_{name}", "type": f"x.{name}"} for place, name in enumerate(types)]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"default_prompt_name": prompt}))
    return folder


CHAIN = ("Transformer", "Pooling", "Normalize")


@pytest.mark.parametrize(
    ("pooling", "name"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode": "mean"}, "mean"),
        ({"pooling_mode": "cls"}, "cls"),
    ],
)
def test_mean_and_first_token_pooling_can_be_prepared(tmp_path: Path, pooling: dict[str, Any], name: str) -> None:
    assert pooling_of(model(tmp_path, types=CHAIN, pooling=pooling)) == name
    assert pooling_of(model(tmp_path, types=CHAIN[:2], pooling=pooling)) == name


@pytest.mark.parametrize(
    ("types", "pooling", "prompt", "why"),
    [
        (("Transformer", "Pooling", "Dense"), {"pooling_mode": "mean"}, None, "Transformer > Pooling > Dense"),
        (CHAIN, {"pooling_mode": "max"}, None, "its pooling is max"),
        (CHAIN, {"pooling_mode": ["mean", "cls"]}, None, "not mean or cls"),
        (CHAIN, {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, None, "pooling_mode_cls_token"),
        (CHAIN, {}, None, "not said"),
        (CHAIN, {"pooling_mode": "mean"}, "query", "a prompt before each text"),
    ],
)
def test_what_cannot_be_prepared_is_named(
    tmp_path: Path, types: tuple[str, ...], pooling: dict[str, Any], prompt: str | None, why: str
) -> None:
    with pytest.raises(Misconfigured, match=r"cannot be prepared: .*runs with torch") as refused:
        pooling_of(model(tmp_path, types=types, pooling=pooling, prompt=prompt))
    assert why in str(refused.value)


# --- what the settings lead to


def settings(tmp_path: Path, **changes: Any) -> Settings:
    return Settings(models_dir=tmp_path, **changes)


def placed(tmp_path: Path, precision: str, **changes: Any) -> Path:
    """A prepared folder of the packaged model; its files are stubs."""
    source = open_embedder(Settings(embedding_runtime="torch")).fingerprint
    folder = folder_of(source, precision=precision, models_dir=tmp_path)
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).write_text(name)
    described: dict[str, Any] = {
        "model_files_digest": source.files_digest,
        "precision": precision,
        "dimension": source.dimension,
        "window_tokens": source.window_tokens,
        "files": {name: file_digest(folder / name) for name in FILES},
        "openvino": metadata.version("openvino"),
        "least_cosine": 1.0,
        "verified_texts": 1,
    }
    PreparedModel(**described | changes).write(folder)
    return folder


def test_without_a_prepared_model_torch_goes_on(tmp_path: Path) -> None:
    assert isinstance(open_embedder(settings(tmp_path)), SentenceTransformersEmbedder)
    assert named_model(settings(tmp_path)).runs_with == "torch on cpu"


@pytest.mark.parametrize("change", [{"embedding_runtime": "openvino"}, {"embedding_precision": "int8"}])
def test_what_only_a_prepared_model_can_do_asks_for_it(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured, match=r"not prepared at .*model prepare"):
        open_embedder(settings(tmp_path, **change))
    assert named_model(settings(tmp_path, **change)).runs_with == ""


def test_fp32_keeps_the_fingerprint_and_int8_is_a_model_of_its_own(tmp_path: Path) -> None:
    placed(tmp_path, "fp32")
    placed(tmp_path, "int8")
    torch = open_embedder(settings(tmp_path, embedding_runtime="torch")).fingerprint
    fp32 = open_embedder(settings(tmp_path))
    int8 = open_embedder(settings(tmp_path, embedding_precision="int8"))
    assert isinstance(fp32, PreparedEmbedder)
    assert fp32.fingerprint == torch
    assert int8.fingerprint.precision == "int8"
    assert int8.fingerprint.files_digest != torch.files_digest
    (kept,) = settings(tmp_path, kept_models="sentence-transformers-int8=").with_kept_models.values()
    assert open_embedder(kept).fingerprint == int8.fingerprint


@pytest.mark.parametrize(
    ("change", "words"),
    [({"openvino": "1999.1.0"}, "made by OpenVINO 1999.1.0"), ({"format": 0}, "of another format")],
)
def test_what_another_release_prepared_is_not_run(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    placed(tmp_path, "fp32", **change)
    assert isinstance(open_embedder(settings(tmp_path)), SentenceTransformersEmbedder)
    with pytest.raises(Misconfigured, match=words):
        open_embedder(settings(tmp_path, embedding_runtime="openvino"))


@pytest.mark.parametrize("name", [*FILES, "prepared.json"])
def test_a_folder_that_is_not_whole_is_named(tmp_path: Path, name: str) -> None:
    folder = placed(tmp_path, "fp32")
    (folder / name).unlink()
    with pytest.raises(Misconfigured, match=folder.name):
        open_embedder(settings(tmp_path, embedding_runtime="openvino"))


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_found_before_it_is_run(tmp_path: Path, name: str) -> None:
    folder = placed(tmp_path, "fp32")
    embedder = open_embedder(settings(tmp_path, embedding_runtime="openvino"))
    (folder / name).write_text("damaged")
    with pytest.raises(Misconfigured, match=rf"{name} is damaged .*--force"):
        embedder.encode(["text"])


def test_a_machine_without_the_device_of_a_gpu_imports_no_torch_to_look_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "_DEVICES", tmp_path)
    backends.has_gpu.cache_clear()
    assert not backends.has_gpu()


# --- preparing


def test_the_hash_backend_has_nothing_to_prepare() -> None:
    with pytest.raises(Misconfigured, match="hash backend"):
        prepare(Settings(embedding_backend="hash"))


def test_a_child_that_dies_leaves_nothing_behind_and_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(Terminal, match=r"ended with 1 .*memory"):
        prepare(settings(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_whose_replacement_died_between_two_renames_is_put_back(tmp_path: Path) -> None:
    folder = placed(tmp_path, "fp32")
    folder.rename(folder.with_name(f".{folder.name}.0123.old"))
    assert prepare(settings(tmp_path)).was_there
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("force", [False, True])
def test_what_somebody_else_prepared_meanwhile_stays_unless_it_is_forced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    models = tmp_path / "models"
    target = placed(models, "fp32")
    ready = target.rename(tmp_path / "ready")
    child = tmp_path / "child"
    child.write_text(
        f"#!{sys.executable}\nimport json, shutil, sys\n"
        f"shutil.copytree({str(ready)!r}, json.loads(sys.argv[3])['folder'], dirs_exist_ok=True)\n"
        f"shutil.copytree({str(ready)!r}, {str(target)!r})\nopen({str(target / 'of another')!r}, 'w').close()\n"
    )
    child.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(child))
    prepare(settings(models), force=force)
    assert (target / "of another").exists() is not force
    assert list(models.iterdir()) == [target]


def test_what_a_preparation_left_that_died_long_ago_goes_and_a_young_one_stays(tmp_path: Path) -> None:
    folder = placed(tmp_path, "fp32")
    left, young = (folder.with_name(f".{folder.name}.{name}") for name in ("left", "young"))
    for each in (left, young):
        (each / "graph").mkdir(parents=True)
    os.utime(left, (0, 0))
    assert prepare(settings(tmp_path)).was_there
    assert set(tmp_path.iterdir()) == {folder, young}


def test_nothing_that_tells_the_libraries_authors_can_be_imported_where_a_model_is_prepared() -> None:
    script = (
        "import sys; from concordance.embedding.library import without_telemetry; without_telemetry();"
        "from openvino.tools.ovc import telemetry_utils;"
        "sys.exit('stub' not in telemetry_utils.tm.__name__ or 'openvino_telemetry.main' in sys.modules)"
    )
    folder = Path(backends.__file__).parents[2]
    ended = subprocess.run([sys.executable, "-W", "ignore", "-c", script], cwd=folder, check=False)
    assert ended.returncode == 0


FIRST_CALLS = """
import sys, threading
from pathlib import Path
import numpy as np
from concordance.embedding.library import load_openvino
from concordance.embedding.openvino_model import Encoder
from concordance.embedding.prepared import GRAPH

folder, ov = Path(sys.argv[1]), load_openvino()
from openvino import opset13 as ops
inputs = [ops.parameter([-1, -1], np.int64, name=name) for name in ("input_ids", "attention_mask")]
product = ops.convert(ops.multiply(*inputs), "f32")
graph = ov.Model([ops.reduce_mean(product, np.array([1]), keep_dims=True)], inputs, "tiny")
for parameter in inputs:
    parameter.output(0).tensor.set_names({parameter.friendly_name})
ov.save_model(graph, str(folder / GRAPH))
encoder = Encoder.compiled(folder, streams=4)
# As the calls of many threads at the same moment: each gives way to the others after every few instructions.
sys.setswitchinterval(1e-6)
together = threading.Barrier(4)

def call():
    together.wait()
    encoder.encode(np.ones((2, 3), dtype=np.int64))

threads = [threading.Thread(target=call) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@pytest.mark.parametrize("attempt", range(3))
def test_threads_that_encode_first_at_the_same_moment_do_not_wait_for_each_other(tmp_path: Path, attempt: int) -> None:
    ended = subprocess.run([sys.executable, "-c", FIRST_CALLS, str(tmp_path)], check=False, timeout=30)
    assert ended.returncode == 0


def test_what_int8_is_fitted_to_is_the_same_each_time() -> None:
    texts = calibration_texts(20)
    assert len(texts) == 20
    assert texts == calibration_texts(20)


def test_a_preparation_is_compared_on_texts_of_all_lengths() -> None:
    lengths = [len(text.split()) for text in verification_texts(64)]
    assert {1, 2, 3, 64, 128} <= set(lengths)


def test_the_packaged_model_can_be_prepared() -> None:
    assert pooling_of(model_folder(Settings())) == "mean"
