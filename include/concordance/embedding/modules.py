"""Which models can be prepared, from their configuration alone: a transformer, mean or first-token pooling, a norm."""

from __future__ import annotations

from pathlib import Path

from concordance.embedding.fingerprint import read_json
from concordance.errors import Misconfigured

# The last word of a module's type; where it is defined has moved between releases of sentence-transformers.
_CHAIN = ("Transformer", "Pooling", "Normalize")
_FLAGS = "pooling_mode_"
_FLAG_OF_MEAN, _FLAG_OF_FIRST = "pooling_mode_mean_tokens", "pooling_mode_cls_token"


def pooling_of(folder: Path) -> str:
    """`mean` or `cls`. Raises `Misconfigured` naming what cannot be prepared; torch runs such a model as ever."""
    modules = read_json(folder / "modules.json")
    chain = tuple(str(module.get("type", "")).rpartition(".")[2] for module in modules)
    if chain not in (_CHAIN, _CHAIN[:2]):
        raise _unsupported(folder, f"its modules are {' > '.join(chain) or 'none'}, not {' > '.join(_CHAIN)}")
    prompts = folder / "config_sentence_transformers.json"
    if prompts.is_file() and read_json(prompts).get("default_prompt_name"):
        raise _unsupported(folder, "it puts a prompt before each text")
    config = read_json(folder / str(modules[1].get("path", "")) / "config.json")
    flags = {name for name, is_set in config.items() if name.startswith(_FLAGS) and is_set is True}
    found = config.get("pooling_mode")
    if found in ("mean", "cls") and not flags:
        return str(found)
    if found is None and flags in ({_FLAG_OF_MEAN}, {_FLAG_OF_FIRST}):
        return "mean" if flags == {_FLAG_OF_MEAN} else "cls"
    raise _unsupported(folder, f"its pooling is {found or ', '.join(sorted(flags)) or 'not said'}, not mean or cls")


def _unsupported(folder: Path, why: str) -> Misconfigured:
    return Misconfigured(
        f"the model in {folder} cannot be prepared: {why}. It runs with torch (embedding_runtime auto or torch)"
    )
