"""A prepared model: what `python -m concordance model prepare` leaves in `models_dir`, for OpenVINO to run.

One folder for each model and precision: the graph with its pooling (`model.xml`, `model.bin`), the tokenizer that cuts
at the model's window, and `prepared.json`, which names the files' digests, the OpenVINO that made them and how near its
vectors are to those of torch. A folder appears whole, by one rename.

At fp32 a prepared model gives the vectors of the model that it was made of, under the same fingerprint. At int8 it is a
model of its own, known by the files of its folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path

from concordance import ids
from concordance.embedding.fingerprint import file_digest, read_json
from concordance.errors import Misconfigured
from concordance.model import ModelFingerprint

FORMAT = 1
GRAPH, WEIGHTS, TOKENIZER = "model.xml", "model.bin", "tokenizer.json"
FILES = (GRAPH, WEIGHTS, TOKENIZER)
DESCRIPTION = "prepared.json"

_DIGEST_CHARACTERS = 32  # of the model's files, in a folder's name


@dataclass(frozen=True, slots=True)
class PreparedModel:
    """What stands in `prepared.json`. `files`: SHA-256 by name; `least_cosine` of `verified_texts` against torch."""

    model_files_digest: str
    precision: str
    dimension: int
    window_tokens: int
    files: Mapping[str, str]
    openvino: str
    least_cosine: float
    verified_texts: int
    format: int = FORMAT

    def fingerprint(self, model: ModelFingerprint) -> ModelFingerprint:
        """What decides this folder's vectors; `model` is the one that it was made of."""
        if self.precision == "fp32":
            return model
        return replace(model, precision=self.precision, files_digest=ids.digest(dict(self.files)))

    def write(self, folder: Path) -> None:
        (folder / DESCRIPTION).write_text(json.dumps(asdict(self), indent=2))

    def check_files(self, folder: Path) -> None:
        """Raises `Misconfigured` when a file is not the one that was prepared."""
        for name, digest in self.files.items():
            path = folder / name
            if not path.is_file() or file_digest(path) != digest:
                raise Misconfigured(f"{path} is damaged or missing: {ADVICE} --force")


ADVICE = "prepare the model again with `python -m concordance model prepare`"


def folder_of(model: ModelFingerprint, *, precision: str, models_dir: Path) -> Path:
    """Where this model lies once it is prepared; `model` is the one that it is made of."""
    return models_dir.resolve() / f"{model.files_digest[:_DIGEST_CHARACTERS]}-{precision}"


def read_prepared(folder: Path) -> PreparedModel | None:
    """What lies in the folder, None if nothing. Cheap: the files' contents are checked when they are loaded.

    Raises `Misconfigured` when it is not whole, or was made by another OpenVINO than could be expected to run it.
    """
    if not folder.is_dir():
        return None
    found = read_json(folder / DESCRIPTION)
    if found.get("format") != FORMAT:
        raise Misconfigured(f"{folder} is of another format: {ADVICE}")
    try:
        prepared = PreparedModel(**found)
    except TypeError:
        raise Misconfigured(f"{folder / DESCRIPTION} does not hold what it should: {ADVICE} --force") from None
    if set(prepared.files) != set(FILES) or not all((folder / name).is_file() for name in FILES):
        raise Misconfigured(f"{folder} is not whole: {ADVICE} --force")
    installed = metadata.version("openvino")
    if _year(prepared.openvino) != _year(installed):
        raise Misconfigured(f"{folder} was made by OpenVINO {prepared.openvino}, installed is {installed}: {ADVICE}")
    return prepared


def _year(version: str) -> str:
    return version.partition(".")[0]
