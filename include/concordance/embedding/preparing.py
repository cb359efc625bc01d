"""`model prepare`: convert a model once, compare it with torch, and put it in place whole.

The work is done by a child process (`conversion.py`): the memory of torch and of the converter goes with it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from concordance.embedding.backends import packaged_or_configured
from concordance.embedding.conversion import REFUSED
from concordance.embedding.modules import pooling_of
from concordance.embedding.prepared import PreparedModel, folder_of, read_prepared
from concordance.errors import Misconfigured, Terminal
from concordance.settings import Settings

_OLD = ".old"


@dataclass(frozen=True, slots=True)
class Preparation:
    """What `prepare` did: `was_there` when a whole folder was found and nothing had to be made."""

    folder: Path
    model: PreparedModel
    was_there: bool

    def as_json(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder),
            "precision": self.model.precision,
            "was_there": self.was_there,
            "least_cosine": self.model.least_cosine,
            "verified_texts": self.model.verified_texts,
        }


def prepare(settings: Settings, *, force: bool = False) -> Preparation:
    """The configured model, prepared in the configured precision; made anew if it is damaged, or with `force`.

    Raises `Misconfigured` when the model is of a kind that cannot be prepared or comes out too far from torch's, and
    `Terminal` when the child dies.
    """
    if settings.embedding_backend == "hash":
        raise Misconfigured("the hash backend has no model to prepare: set embedding_backend to sentence-transformers")
    folder, fingerprint = packaged_or_configured(settings)
    target = folder_of(fingerprint, precision=settings.embedding_precision, models_dir=settings.models_dir)
    _clear_left(target, seconds=settings.prepare_seconds)
    if not force and (found := _whole(target)) is not None:
        return Preparation(target, found, was_there=True)
    request = {
        "model_dir": str(folder),
        "pooling": pooling_of(folder),
        "model": [fingerprint.files_digest, fingerprint.dimension, fingerprint.window_tokens],
        "precision": settings.embedding_precision,
        "min_cosine": settings.prepare_min_cosine_int8
        if settings.embedding_precision == "int8"
        else settings.prepare_min_cosine,
        "calibration_texts": settings.prepare_calibration_texts,
        "probe_seconds": settings.embed_probe_seconds,
    }
    made = target.with_name(f".{target.name}.{uuid4().hex}")
    made.mkdir(parents=True)
    try:
        _run_child({**request, "folder": str(made)}, seconds=settings.prepare_seconds)
        _put_in_place(made, target, force=force)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    model = read_prepared(target)
    if model is None:
        raise Terminal(f"{target} is gone: something else cleared models_dir; prepare the model again")
    return Preparation(target, model, was_there=False)


def _whole(folder: Path) -> PreparedModel | None:
    try:
        found = read_prepared(folder)
        if found is not None:
            found.check_files(folder)
    except Misconfigured:
        return None
    return found


def _run_child(request: dict[str, object], *, seconds: float) -> None:
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "concordance.embedding.conversion", json.dumps(request)],
            env={**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "PYTHONPATH": _import_path()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Terminal(
            f"the model was not prepared within {seconds:g} s: raise prepare_seconds, or try a quieter machine"
        ) from None
    if ended.returncode == REFUSED:
        raise Misconfigured(ended.stderr.strip().rpartition("\n")[2])
    if ended.returncode:
        lines = ended.stderr.strip().splitlines()
        raise Terminal(
            f"the process that prepares the model ended with {ended.returncode} ({lines[-1][:300] if lines else ''}): "
            "it needs 2 GB of memory and 200 MB of disk below models_dir"
        )


def _import_path() -> str:
    """This tree first: the child runs the same product, wherever it is started."""
    return os.pathsep.join(filter(None, (str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", ""))))


def _put_in_place(made: Path, target: Path, *, force: bool) -> None:
    """What is whole there stays, unless `force`: somebody else prepared the same model meanwhile, which is as good, and
    who has opened it by now goes on to read its files."""
    old = made.with_name(f"{made.name}{_OLD}")
    try:
        if target.exists() and (force or _whole(target) is None):
            target.rename(old)
        # Onto a folder that is there it fails.
        made.rename(target)
    except OSError:
        if force or _whole(target) is None:
            if old.exists() and not target.exists():
                old.rename(target)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _clear_left(target: Path, *, seconds: float) -> None:
    """What died between the two renames is put back; what a process left that can no longer be at work goes."""
    for left in target.parent.glob(f".{target.name}.*"):
        if left.name.endswith(_OLD) and not target.exists():
            left.rename(target)
        elif left.stat().st_mtime < time.time() - 2 * seconds:
            shutil.rmtree(left, ignore_errors=True)
