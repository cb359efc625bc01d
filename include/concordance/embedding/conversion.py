"""The child process of `model prepare`: from a sentence-transformers folder to a prepared one, verified.

Its one argument is what `preparing.py` asks for, as JSON. Torch, the converter and NNCF are imported here and nowhere
else in the product; whatever they would tell their authors does not leave.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from concordance.embedding.canaries import TEXTS
from concordance.embedding.checks import normalised
from concordance.embedding.fingerprint import file_digest
from concordance.embedding.library import without_telemetry
from concordance.embedding.openvino_model import PreparedEmbedder
from concordance.embedding.prepared import FILES, GRAPH, TOKENIZER, PreparedModel
from concordance.errors import Misconfigured
from concordance.model import ModelFingerprint
from concordance.settings import Settings

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

REFUSED = 2  # the exit code when the last line on standard error is a sentence for people
# Packages that the product itself needs, so that every machine has them: their READMEs are what int8 is fitted to.
_CALIBRATED_ON = (
    "apache-airflow",
    "great-expectations",
    "neo4j",
    "numpy",
    "pandas",
    "psycopg",
    "pyarrow",
    "pydantic",
    "qdrant-client",
    "rich",
    "sentence-transformers",
    "sqlalchemy",
    "tenacity",
    "tokenizers",
    "torch",
    "transformers",
)
_CALIBRATION_CHARACTERS = 900


def main(argument: str) -> int:
    request = json.loads(argument)
    without_telemetry()
    try:
        prepare(request)
    except Misconfigured as error:
        print(error, file=sys.stderr)
        return REFUSED
    return 0


def prepare(request: dict[str, Any]) -> None:
    """Fill `request["folder"]`. Raises `Misconfigured` when the vectors come out too far from torch's."""
    folder, model_dir = Path(request["folder"]), Path(request["model_dir"])
    files_digest, dimension, window = request["model"]
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(str(model_dir), device="cpu", local_files_only=True)
    reference.max_seq_length = window
    _write_tokenizer(reference, folder, window=window)
    _write_graph(reference, folder, pooling=request["pooling"])
    if request["precision"] == "int8":
        _quantise(folder, texts=request["calibration_texts"])
    prepared = PreparedModel(
        model_files_digest=files_digest,
        precision=request["precision"],
        dimension=dimension,
        window_tokens=window,
        files={name: file_digest(folder / name) for name in FILES},
        openvino=metadata.version("openvino"),
        least_cosine=0.0,
        verified_texts=0,
    )
    texts = verification_texts(window)
    embedder = _embedder(prepared, folder, request)
    cosine = _least_cosine(embedder.encode(texts), reference, texts)
    if not cosine >= request["min_cosine"]:
        raise Misconfigured(
            f"the model in {model_dir} cannot be prepared: at {prepared.precision} a vector has a cosine of "
            f"{cosine:.7f} with that of torch, {request['min_cosine']} is asked for. It runs with torch"
        )
    replace(prepared, least_cosine=cosine, verified_texts=len(texts)).write(folder)
    embedder.probe()


def verification_texts(window_tokens: int) -> list[str]:
    """The canary texts, and words of them: one text of each of some lengths up to the window and beyond."""
    words = " ".join(TEXTS).split()
    counts = {1, 2, 3, *range(4, window_tokens, max(window_tokens // 32, 1)), window_tokens, 2 * window_tokens}
    return [
        *TEXTS,
        *(" ".join(words[(7 * count + place) % len(words)] for place in range(count)) for count in sorted(counts)),
    ]


def _embedder(prepared: PreparedModel, folder: Path, request: dict[str, Any]) -> PreparedEmbedder:
    fingerprint = ModelFingerprint(
        name=request["model_dir"],
        revision="",
        files_digest=prepared.model_files_digest,
        dimension=prepared.dimension,
        window_tokens=prepared.window_tokens,
        precision=prepared.precision,
        backend="",
    )
    settings = Settings(embed_probe_seconds=request["probe_seconds"])
    return PreparedEmbedder(folder, model=prepared, fingerprint=fingerprint, settings=settings)


def _least_cosine(found: npt.NDArray[np.float32], reference: SentenceTransformer, texts: Sequence[str]) -> float:
    said = normalised(np.asarray(reference.encode(list(texts), show_progress_bar=False), dtype=np.float32))
    if found.shape != said.shape:
        return 0.0
    return float(np.einsum("ij,ij->i", found.astype(np.float64), said.astype(np.float64)).min())


def _write_tokenizer(reference: SentenceTransformer, folder: Path, *, window: int) -> None:
    """The tokenizer that sentence-transformers really uses, which is not always what its file says."""
    from tokenizers import Tokenizer

    used = getattr(reference.tokenizer, "backend_tokenizer", None)
    if used is None:
        raise Misconfigured("the model cannot be prepared: its tokenizer is not of the tokenizers library")
    tokenizer = Tokenizer.from_str(used.to_str())
    tokenizer.enable_truncation(window)
    tokenizer.no_padding()
    tokenizer.save(str(folder / TOKENIZER))


def _write_graph(reference: SentenceTransformer, folder: Path, *, pooling: str) -> None:
    """Transformer and pooling as one graph: ids and mask, int64 (texts, tokens), to float32 (texts, dimension)."""
    import openvino
    import torch

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.transformer = cast(Any, reference[0]).auto_model

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            states = self.transformer(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            if pooling == "cls":
                return states[:, 0]
            mask = attention_mask.unsqueeze(-1).to(states.dtype)
            return (states * mask).sum(1) / mask.sum(1).clamp(min=1e-9)

    example = torch.ones((2, 16), dtype=torch.long)
    graph = openvino.convert_model(Pooled().eval(), example_input={"input_ids": example, "attention_mask": example})
    openvino.save_model(graph, str(folder / GRAPH), compress_to_fp16=False)


def _quantise(folder: Path, *, texts: int) -> None:
    """Weights and activations to int8, their ranges taken from real texts."""
    import nncf
    import openvino
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    chosen = calibration_texts(texts)

    def inputs(text: str) -> dict[str, npt.NDArray[np.int64]]:
        tokens = np.array([tokenizer.encode(text).ids], dtype=np.int64)
        return {"input_ids": tokens, "attention_mask": np.ones_like(tokens)}

    quantised = nncf.quantize(
        openvino.Core().read_model(str(folder / GRAPH)),
        nncf.Dataset(chosen, inputs),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(chosen),
    )
    # The graph that was read is still open from its file: the new one goes beside it, then over it.
    openvino.save_model(quantised, str(folder / f"int8-{GRAPH}"), compress_to_fp16=False)
    for suffix in (".xml", ".bin"):
        made = (folder / f"int8-{GRAPH}").with_suffix(suffix)
        made.replace((folder / GRAPH).with_suffix(suffix))


def calibration_texts(count: int) -> list[str]:
    """Pieces of READMEs of packages that are installed wherever the product is, the same for the same lock, spread over
    all of them; the canary texts where there are none."""
    pieces: list[str] = []
    for name in _CALIBRATED_ON:
        text = str(metadata.metadata(name).json.get("description", ""))
        pieces.extend(
            text[start : start + _CALIBRATION_CHARACTERS] for start in range(0, len(text), _CALIBRATION_CHARACTERS)
        )
    chosen = pieces[:: max(len(pieces) // count, 1)][:count]
    return [piece for piece in chosen if piece.strip()] or list(TEXTS)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
