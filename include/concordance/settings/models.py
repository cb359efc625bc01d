"""The models beside the configured one, as `kept_models` names them."""

from __future__ import annotations

from typing import Any

HASH_DIMENSIONS = range(8, 65_537)  # at least one component for each place of a word; what the vector store takes


def model_settings(entry: str) -> dict[str, Any]:
    """The settings that one entry of `kept_models` stands for."""
    backend, _, place = (part.strip() for part in entry.partition("="))
    if backend in ("sentence-transformers", "sentence-transformers-int8"):
        precision = "int8" if backend.endswith("-int8") else "fp32"
        return {"embedding_backend": "sentence-transformers", "model_dir": place, "embedding_precision": precision}
    if backend == "hash" and place.isdecimal() and int(place) in HASH_DIMENSIONS:
        return {"embedding_backend": backend, "hash_dimension": int(place)}
    raise ValueError(
        f"{entry.strip()!r} is none of sentence-transformers=<folder>, sentence-transformers-int8=<folder> (an empty "
        f"folder is the packaged model) and hash=<dimension from {HASH_DIMENSIONS[0]} to {HASH_DIMENSIONS[-1]}>; write "
        "a comma between two"
    )


def named_models(entries: str) -> str:
    for entry in parts(entries):
        model_settings(entry)
    return entries


def parts(entries: str) -> list[str]:
    return [entry.strip() for entry in entries.split(",") if entry.strip()]
