"""The models of one process: the configured one, and those that kept index versions were built with.

Vectors of two models do not compare. So an index version is read and written with the model that it was built with,
found by its fingerprint; the configured model is what the next version is built with.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from concordance.embedding.backends import open_embedder, packaged_or_configured, runtime_of, tokenizer_folder
from concordance.embedding.port import Embedder
from concordance.embedding.prepared import folder_of, read_prepared
from concordance.errors import Misconfigured
from concordance.model import IndexVersion, ModelFingerprint
from concordance.settings import Settings

_DIGEST_CHARACTERS = 12  # of the files' digest, as much as people compare


@dataclass(frozen=True, slots=True)
class Model:
    """An embedder, and the folder of the tokenizer that counts for it."""

    embedder: Embedder
    tokenizer_folder: Path


class KeptModels:
    """What the setting `kept_models` names. Each is opened once, when no model before it is the one that is asked for;
    opening computes the fingerprint of its files and loads no weights."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.with_kept_models
        self._opened: dict[str, Embedder] = {}
        self._opening = threading.Lock()

    def find(self, fingerprint: ModelFingerprint) -> tuple[Model | None, list[str]]:
        """The model of this fingerprint, if it is one of them; and what is wrong with those that cannot be opened."""
        faults = []
        for entry, settings in self._settings.items():
            try:
                embedder = self._open(entry, settings)
            except Misconfigured as error:
                # Another entry may be the one; a folder that is away must not keep its version from being read.
                faults.append(f"{entry} cannot be opened: {error}")
                continue
            if embedder.fingerprint == fingerprint:
                return Model(embedder, tokenizer_folder(settings)), faults
        return None, faults

    def _open(self, entry: str, settings: Settings) -> Embedder:
        with self._opening:
            if entry not in self._opened:
                self._opened[entry] = open_embedder(settings)
            return self._opened[entry]


def model_of(version: IndexVersion, *, configured: Embedder, kept: KeptModels, settings: Settings) -> Model:
    """The model that the version was built with: the configured one, else one of the kept ones.

    Raises `Misconfigured` naming the version's model when it is none of them.
    """
    frozen = version.settings.model
    if configured.fingerprint == frozen:
        return Model(configured, tokenizer_folder(settings))
    found, faults = kept.find(frozen)
    if found is not None:
        return found
    raise Misconfigured(
        f"Index version {version.version} was built with the model {named(frozen)}, but the configured one is "
        f"{named(configured.fingerprint)}, and it is none of kept_models: {_advice(frozen)}, or set "
        "AIRFLOW__CONCORDANCE__MODEL_DIR and AIRFLOW__CONCORDANCE__EMBEDDING_BACKEND back. A new model needs a new "
        "index version" + "".join(f". {fault}" for fault in faults)
    )


@dataclass(frozen=True, slots=True)
class VersionModel:
    """What an index version was built with, for people; `fault` says why that model cannot be opened, if so."""

    version: int
    state: str
    model: str
    configured: str
    is_configured: bool
    fault: str = ""


def version_models(versions: Sequence[IndexVersion], settings: Settings) -> list[VersionModel]:
    """Of each version its model, in order. Raises `Misconfigured` when the configured model cannot be opened."""
    configured, kept = open_embedder(settings), KeptModels(settings)

    def found(version: IndexVersion) -> VersionModel:
        frozen = version.settings.model
        fault = ""
        try:
            model_of(version, configured=configured, kept=kept, settings=settings)
        except Misconfigured as error:
            fault = str(error)
        return VersionModel(
            version.version,
            version.state,
            named(frozen),
            named(configured.fingerprint),
            is_configured=frozen == configured.fingerprint,
            fault=fault,
        )

    return [found(version) for version in versions]


@dataclass(frozen=True, slots=True)
class NamedModel:
    """A model that the settings name: what would run it (empty: nothing), where it is prepared and how near that is to
    torch (empty: nowhere), and what is wrong."""

    model: str
    runs_with: str
    prepared: str
    fault: str

    def as_json(self) -> dict[str, str]:
        return asdict(self)


def named_model(settings: Settings) -> NamedModel:
    """What these settings lead to, without loading any weights."""
    if settings.embedding_backend == "hash":
        return NamedModel(named(open_embedder(settings).fingerprint), "hashing", "", "")
    try:
        _, source = packaged_or_configured(settings)
    except Misconfigured as error:
        return NamedModel(settings.model_dir or "the packaged model", "", "", str(error))
    name, runs_with, prepared, fault = named(source), "", "", ""
    try:
        place = folder_of(source, precision=settings.embedding_precision, models_dir=settings.models_dir)
        found = read_prepared(place)
        prepared = "" if found is None else f"{place} (cosine to torch {found.least_cosine:.7f})"
    except Misconfigured as error:
        fault = str(error)
    try:
        embedder = open_embedder(settings)
        name, runs_with = named(embedder.fingerprint), runtime_of(embedder)
    except Misconfigured as error:
        fault = str(error)
    return NamedModel(name, runs_with, prepared, fault)


def named(fingerprint: ModelFingerprint) -> str:
    """A model, for people: what differs between two of them."""
    return (
        f"{fingerprint.name} ({fingerprint.backend}, {fingerprint.precision}, revision "
        f"{fingerprint.revision or 'unknown'}, {fingerprint.dimension} dimensions, files "
        f"{fingerprint.files_digest[:_DIGEST_CHARACTERS]})"
    )


def _advice(fingerprint: ModelFingerprint) -> str:
    place = str(fingerprint.dimension) if fingerprint.backend == "hash" else "<its folder>"
    quantised = fingerprint.precision == "int8" and fingerprint.backend != "hash"
    kind = f"{fingerprint.backend}-int8" if quantised else fingerprint.backend
    return f"add {kind}={place} to AIRFLOW__CONCORDANCE__KEPT_MODELS"
