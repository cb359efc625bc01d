"""The models beside the configured one, as `kept_models` names them."""

from __future__ import annotations

from typing import Any

HASH_DIMENSIONS = range(8, 65_537)  # at least one component for each place of a word; what the vector store takes


def model_settings(entry: str) -> dict[str, Any]:
    """The settings that one entry of `kept_models` stands for."""
    backend, _, place = (part.strip() for part in entry.partition("="))
    if backend == "sentence-transformers":
        return {"embedding_backend": backend, "model_dir": place}
    if backend == "hash" and place.isdecimal() and int(place) in HASH_DIMENSIONS:
        return {"embedding_backend": backend, "hash_dimension": int(place)}
    raise ValueError(
        f"{entry.strip()!r} is none of sentence-transformers=<folder>, sentence-transformers= (the packaged model) and "
        f"hash=<dimension from {HASH_DIMENSIONS[0]} to {HASH_DIMENSIONS[-1]}>; write a comma between two"
    )


def named_models(entries: str) -> str:
    for entry in parts(entries):
        model_settings(entry)
    return entries


def parts(entries: str) -> list[str]:
    return [entry.strip() for entry in entries.split(",") if entry.strip()]
