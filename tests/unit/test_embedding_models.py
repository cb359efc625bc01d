"""Which model an index version is read and written with."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from concordance.embedding import HashEmbedder, model_folder, open_embedder
from concordance.embedding.models import KeptModels, Model, model_of, version_models
from concordance.errors import Misconfigured
from concordance.model import IndexVersion, ModelFingerprint
from concordance.settings import Settings, load_settings
from support.index_rows import index_version

PACKAGED = model_folder(Settings())


def built_with(fingerprint: ModelFingerprint, number: int = 1) -> IndexVersion:
    version = index_version(number)
    return replace(version, settings=replace(version.settings, model=fingerprint))


def found(version: IndexVersion, settings: Settings) -> Model:
    return model_of(version, configured=open_embedder(settings), kept=KeptModels(settings), settings=settings)


@pytest.fixture
def other_model(tmp_path: Path) -> Path:
    """The packaged model with a stub for its weights: another one by its fingerprint, with a tokenizer of its own."""
    folder = tmp_path / "other"
    shutil.copytree(PACKAGED, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_the_configured_model_is_the_versions_where_the_fingerprints_are_the_same() -> None:
    # A kept model that is away does not matter to who need not open it.
    settings = Settings(embedding_backend="hash", kept_models="sentence-transformers=/nowhere")
    assert found(built_with(HashEmbedder(384).fingerprint), settings).embedder.fingerprint.dimension == 384


def test_a_version_of_a_kept_model_gets_that_and_its_tokenizer(other_model: Path) -> None:
    kept = f"hash=16, sentence-transformers={other_model},sentence-transformers="
    settings = Settings(embedding_backend="hash", hash_dimension=32, kept_models=kept)
    for version_settings, tokenizer in (
        (Settings(embedding_backend="hash", hash_dimension=32), PACKAGED),
        (Settings(embedding_backend="hash", hash_dimension=16), PACKAGED),
        (Settings(model_dir=str(other_model)), other_model),
        (Settings(), PACKAGED),
    ):
        fingerprint = open_embedder(version_settings).fingerprint
        model = found(built_with(fingerprint), settings)
        assert (model.embedder.fingerprint, model.tokenizer_folder) == (fingerprint, tokenizer)


def test_texts_of_the_hash_backend_are_counted_alike_wherever_model_dir_leads(other_model: Path) -> None:
    settings = Settings(embedding_backend="hash", model_dir=str(other_model))
    assert found(built_with(HashEmbedder().fingerprint), settings).tokenizer_folder == PACKAGED


def test_a_kept_model_is_opened_once(other_model: Path) -> None:
    kept = KeptModels(Settings(kept_models=f"sentence-transformers={other_model}"))
    fingerprint = open_embedder(Settings(model_dir=str(other_model))).fingerprint
    (first, _), (again, _) = kept.find(fingerprint), kept.find(fingerprint)
    assert first is not None
    assert again is not None
    assert first.embedder is again.embedder


def test_a_kept_model_that_is_away_keeps_no_other_from_being_found() -> None:
    settings = Settings(kept_models="sentence-transformers=/nowhere, hash=16")
    assert isinstance(found(built_with(HashEmbedder(16).fingerprint), settings).embedder, HashEmbedder)


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        ({"precision": "int8"}, "add hash=16 to AIRFLOW__CONCORDANCE__KEPT_MODELS"),
        ({"backend": "sentence-transformers"}, "add sentence-transformers=<its folder> to"),
        ({"backend": "sentence-transformers", "precision": "int8"}, "add sentence-transformers-int8=<its folder> to"),
    ],
)
def test_a_model_that_is_nowhere_is_refused_with_what_to_set_and_what_could_not_be_opened(
    change: dict[str, Any], advice: str
) -> None:
    settings = Settings(kept_models="hash=16,sentence-transformers=/nowhere")
    version = built_with(replace(HashEmbedder(16).fingerprint, **change), 7)
    with pytest.raises(Misconfigured, match=r"version 7 was built with the model hash") as caught:
        found(version, settings)
    assert advice in str(caught.value)
    assert "sentence-transformers=/nowhere cannot be opened: there is no model folder" in str(caught.value)


def test_what_status_says_of_each_versions_model() -> None:
    settings = Settings(embedding_backend="hash", hash_dimension=32, kept_models="hash=16")
    versions = [built_with(HashEmbedder(dimension).fingerprint, dimension) for dimension in (8, 16, 32)]
    lost, kept, configured = version_models(versions, settings)
    assert "KEPT_MODELS" in lost.fault
    assert (kept.fault, kept.is_configured) == ("", False)
    assert (configured.fault, configured.is_configured) == ("", True)
    assert "16 dimensions" in kept.model
    assert "32 dimensions" in kept.configured


def test_kept_models_come_from_the_environment_and_from_airflow_cfg(tmp_path: Path) -> None:
    written = " hash=16 ,sentence-transformers=/models/a b, sentence-transformers= ,"
    cfg = tmp_path / "airflow.cfg"
    cfg.write_text(f"[concordance]\nkept_models = {written}\n")
    variables = {"AIRFLOW__CONCORDANCE__KEPT_MODELS": written}
    nothing = tmp_path / "no.cfg"
    for settings in (
        load_settings(environment=variables, cfg_file=nothing),
        load_settings(environment={}, cfg_file=cfg),
    ):
        kept = settings.with_kept_models.values()
        assert [(one.embedding_backend, one.hash_dimension, one.model_dir) for one in kept] == [
            ("hash", 16, ""),
            ("sentence-transformers", 384, "/models/a b"),
            ("sentence-transformers", 384, ""),
        ]


@pytest.mark.parametrize("entry", ["/models/a", "onnx=/models/a", "hash", "hash=", "hash=7", "hash=65537", "hash=x"])
def test_an_entry_that_names_no_model_is_refused_with_the_form(entry: str) -> None:
    variables = {"AIRFLOW__CONCORDANCE__KEPT_MODELS": f"hash=16,{entry}"}
    with pytest.raises(Misconfigured, match=r"KEPT_MODELS = .*sentence-transformers=<folder>"):
        load_settings(environment=variables)
