"""What a model folder is, without loading its weights: the fingerprint that is frozen with an index version.

A folder in the layout of sentence-transformers: `modules.json` lists the modules and their folders, the root holds the
transformer's configuration, tokenizer and weights as safetensors. Other weights are refused: they are pickles, which
can run code when they are read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from concordance import ids
from concordance.errors import Misconfigured
from concordance.model import ModelFingerprint

PRECISION = "fp32"

_DECIDING_SUFFIXES = frozenset({".json", ".txt", ".model", ".safetensors"})
_NEEDED_FILES = ("modules.json", "config.json", "tokenizer.json")
_MAX_CONFIGURATION_BYTES = 64_000_000


def fingerprint_of(model_dir: str | Path, *, backend: str, name: str = "", revision: str = "") -> ModelFingerprint:
    """The fingerprint of the model in a folder; `name` and `revision` where the folder cannot tell them.

    Raises `Misconfigured` with what is missing and the setting to change. Digests of the files are remembered in this
    process by size and modification time.
    """
    folder = Path(model_dir)
    _check_layout(folder)
    modules = read_json(folder / "modules.json")
    config = read_json(folder / "config.json")
    return ModelFingerprint(
        name=name or str(config.get("_name_or_path") or "unnamed"),
        revision=revision or str(config.get("transformers_version") or "unknown"),
        files_digest=_files_digest(folder, _module_folders(folder, modules)),
        dimension=_dimension(folder, modules, config),
        window_tokens=_window(folder, config),
        precision=PRECISION,
        backend=backend,
    )


def _check_layout(folder: Path) -> None:
    if not folder.is_dir():
        raise Misconfigured(
            f"there is no model folder {folder}: set model_dir to the folder of a sentence-transformers model, or "
            "leave it empty for the packaged one"
        )
    missing = [name for name in _NEEDED_FILES if not (folder / name).is_file()]
    if missing:
        raise Misconfigured(
            f"{folder} is not the folder of a sentence-transformers model: {', '.join(missing)} missing. Set model_dir "
            "to a whole copy of the model"
        )
    if not any(path.stat().st_size for path in folder.glob("*.safetensors")):
        raise Misconfigured(
            f"{folder} holds no weights (model.safetensors): copy the whole model to where model_dir points. Weights "
            "in other formats are not read, because they can run code"
        )


def _dimension(folder: Path, modules: list[dict[str, Any]], config: dict[str, Any]) -> int:
    """Components of an embedding: the last module that says so decides."""
    dimension = config.get("hidden_size")
    for module in modules:
        path = folder / str(module.get("path", "")) / "config.json"
        if not module.get("path") or not path.is_file():
            continue
        found = read_json(path)
        dimension = (
            found.get("out_features") or found.get("word_embedding_dimension") or found.get("embedding_dimension")
        ) or dimension
    return _positive(dimension, "the dimension of its vectors", folder)


def _window(folder: Path, config: dict[str, Any]) -> int:
    """Tokens of one text that the model reads, special tokens included."""
    path = folder / "sentence_bert_config.json"
    window = read_json(path).get("max_seq_length") if path.is_file() else None
    return _positive(window or config.get("max_position_embeddings"), "its window in tokens", folder)


def _positive(value: object, what: str, folder: Path) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 1_000_000:
        raise Misconfigured(f"the model in {folder} does not say {what}: set model_dir to a whole copy of the model")
    return value


def read_json(path: Path) -> Any:
    """A configuration file: a list of objects for modules.json, else an object. Raises `Misconfigured`."""
    try:
        if path.stat().st_size > _MAX_CONFIGURATION_BYTES:
            raise Misconfigured(f"{path} is too large for a configuration file: copy the model again")
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise Misconfigured(f"{path} cannot be read ({type(error).__name__}): copy the model again") from None
    expected = list if path.name == "modules.json" else dict
    if not isinstance(found, expected) or (expected is list and not all(isinstance(one, dict) for one in found)):
        raise Misconfigured(f"{path} does not hold what it should: copy the model again")
    return found


def _module_folders(folder: Path, modules: list[dict[str, Any]]) -> list[Path]:
    """The modules' own folders. One without settings, such as Normalize, may be missing: empty folders get lost."""
    found = []
    for module in modules:
        place = folder / str(module.get("path", ""))
        if place.is_dir() and place.resolve().is_relative_to(folder.resolve()):
            found.append(place)
        elif not str(module.get("type", "")).endswith(".Normalize"):
            raise Misconfigured(f"modules.json names {place}, which is not a folder of the model: copy the model again")
    return [place for place in dict.fromkeys(found) if place != folder]


def _files_digest(folder: Path, module_folders: list[Path]) -> str:
    digests = {}
    for path in _deciding_files(folder, module_folders):
        digests[path.relative_to(folder).as_posix()] = file_digest(path)
    return ids.digest(digests)


def _deciding_files(folder: Path, module_folders: list[Path]) -> Iterator[Path]:
    """The files that can change a vector; not READMEs, nor the same weights for other runtimes."""
    for place in (folder, *module_folders):
        for path in sorted(place.iterdir()):
            if path.suffix in _DECIDING_SUFFIXES and not path.name.startswith(".") and path.is_file():
                yield path


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hex; remembered in this process by size and modification time."""
    stat = path.stat()
    return _file_digest(str(path), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _file_digest(path: str, size_bytes: int, modified_ns: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
