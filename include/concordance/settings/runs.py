"""What a run does with documents: parsing, chunking, embedding, loading, and the gates between."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from concordance.settings.models import HASH_DIMENSIONS, named_models


class RunSettings(BaseModel):
    """Limits and choices of a run. A section comment says which room reads it."""

    # sources and parsing
    max_documents_per_source: int = Field(2_000_000, ge=1, le=100_000_000)
    max_document_bytes: int = Field(50_000_000, ge=1, le=1_000_000_000)
    max_text_bytes: int = Field(10_000_000, ge=1, le=100_000_000)
    max_pages: int = Field(2_000, ge=1, le=1_000_000, description="of a PDF, slide deck or workbook")
    max_expanded_bytes: int = Field(
        100_000_000, ge=1_000_000, le=10_000_000_000, description="of a document that is packed, unpacked"
    )
    max_expansion_ratio: int = Field(
        100, ge=2, le=10_000, description="unpacked bytes for each packed one, beyond the first million"
    )
    max_packed_files: int = Field(10_000, ge=1, le=1_000_000, description="in a document that is packed")
    max_names_per_document: int = Field(
        10_000, ge=1, le=1_000_000, description="entities, relations and links, each, that a source states of it"
    )
    parser_memory_bytes: int = Field(512_000_000, ge=64_000_000, le=16_000_000_000)
    parser_cpu_seconds: int = Field(60, ge=1, le=3600, description="of a document")
    parser_timeout_seconds: float = Field(60, gt=0, le=3600, description="of a document")
    parser_open_files: int = Field(64, ge=16, le=1_000)
    parser_processes: int = Field(2, ge=1, le=64, description="that read documents at once, each within these limits")
    read_ahead_documents: int = Field(
        8, ge=0, le=1_000, description="read and parsed while one before them is cut; 0: all in one thread, in turn"
    )

    # chunking: frozen with the index version
    chunk_min_tokens: int = Field(120, ge=16, le=4096)
    chunk_max_tokens: int = Field(200, ge=32, le=8192)
    header_max_tokens: int = Field(48, ge=0, le=256)
    max_chunks_per_document: int = Field(20_000, ge=1, le=1_000_000)
    max_gazetteer_names: int = Field(100_000, ge=0, le=1_000_000)
    boilerplate_sample_documents: int = Field(400, ge=0, le=100_000, description="read per source for a new version")
    max_name_characters: int = Field(512, ge=16, le=8192)
    bm25_k1: float = Field(1.2, ge=0, le=10)
    bm25_b: float = Field(0.75, ge=0, le=1)
    bm25_average_tokens: float = Field(45, gt=0, le=10_000, description="mean terms of a chunk")

    # embedding: frozen with the index version
    embedding_backend: str = Field("sentence-transformers", pattern="^(sentence-transformers|hash)$")
    model_dir: str = Field("", description="folder of the model; empty: the one that the pinned package carries")
    embedding_precision: str = Field(
        "fp32", pattern="^(fp32|int8)$", description="int8 is a model of its own: `python -m concordance model prepare`"
    )
    embedding_runtime: str = Field(
        "auto", pattern="^(auto|openvino|torch)$", description="auto: a GPU, else the prepared model, else torch"
    )
    hash_dimension: int = Field(
        384, ge=HASH_DIMENSIONS[0], le=HASH_DIMENSIONS[-1], description="components of a vector of the hash backend"
    )
    kept_models: Annotated[str, AfterValidator(named_models)] = Field(
        "",
        description="other models that kept index versions were built with: backend=folder, a comma between two, an "
        "empty folder for the packaged model, hash=dimension for the hash backend",
    )
    embed_batch_texts: int = Field(32, ge=1, le=4096, description="that torch encodes at once")
    embed_batch_tokens: int = Field(
        8192, ge=1, le=10_000_000, description="that the prepared model encodes at once, at most"
    )
    embed_pool_texts: int = Field(2048, ge=1, le=1_000_000)
    embed_probe_seconds: float = Field(
        10, ge=0, le=600, description="for choosing threads and batches on a machine, once; 0: not at all"
    )
    prepare_seconds: float = Field(3600, ge=10, le=86_400, description="for preparing one model")
    prepare_min_cosine: float = Field(
        0.999999, ge=0, le=1, description="between a text's vector of the prepared model and of torch"
    )
    prepare_min_cosine_int8: float = Field(0.9, ge=0, le=1, description="likewise, of a model quantised to int8")
    prepare_calibration_texts: int = Field(128, ge=8, le=10_000, description="that a quantisation looks at")

    # the run
    shard_bytes: int = Field(10_000_000, ge=1_000, le=10_000_000_000)
    max_shards: int = Field(32, ge=1, le=512)
    batch_chunks: int = Field(1000, ge=1, le=20_000, description="chunks of one load transaction, about")
    max_delete_fraction: float = Field(0.10, ge=0, le=1, description="of the known documents; more need approval")
    max_changed_fraction: float = Field(0.50, ge=0, le=1, description="of the known documents; more need approval")
    tolerated_changed_documents: int = Field(20, ge=0, le=1_000_000, description="so few never need approval")
    max_planned_bytes: int = Field(
        1024**3, ge=1, le=2**53, description="that one run reads; more, half a day of work on two cores, need approval"
    )
    approval_timeout_seconds: float = Field(
        43_200, ge=10, le=604_800, description="how long a run waits for a person; then nothing is written"
    )
    max_quarantined_fraction: float = Field(0.20, ge=0, le=1, description="of the documents that a run reads")
    tolerated_quarantined_documents: int = Field(3, ge=0, le=1000, description="so few never stop a run")
    min_text_characters: int = Field(3, ge=1, le=1000, description="a document with less text is no document")

    # the gates (quality)
    max_damaged_fraction: float = Field(0.005, ge=0, le=1, description="of a text's characters: replaced, mojibake")
    tolerated_damaged_characters: int = Field(3, ge=0, le=1_000_000, description="so few never reject a document")
    min_language_characters: int = Field(200, ge=20, le=4000, description="letters; a shorter text tells no language")
    min_language_probability: float = Field(0.05, ge=0, le=1, description="of all declared languages together")
    max_equal_documents: int = Field(10, ge=1, le=1_000_000, description="of one text in a run; else only one is kept")
    min_coverage_fraction: float = Field(0.98, ge=0, le=1, description="of a text's letters and digits, in its chunks")
    tolerated_lost_characters: int = Field(20, ge=0, le=1_000_000, description="so few never reject a document")
    min_repeated_documents: int = Field(10, ge=2, le=1_000_000, description="that say one chunk's body: it recurs")
    repeated_fraction: float = Field(0.05, ge=0, le=1, description="of a run's documents that say it: it recurs")
    max_repeated_chunk_fraction: float = Field(0.5, ge=0, le=1, description="of a run's chunks that recur")
    canary_epsilon: float = Field(1e-7, ge=0, le=2, description="cosine distance of a canary from its kept vector")
    max_jump_factor: float = Field(3, gt=1, le=1_000_000, description="against the median of the last runs")
    jumps_stop: bool = Field(False, description="a jump stops the run instead of warning")
    min_jump_runs: int = Field(3, ge=1, le=1000, description="published runs before a jump is one")
    max_jump_runs: int = Field(10, ge=1, le=1000, description="of the last runs that are compared with")
    min_jump_documents: int = Field(20, ge=1, le=1_000_000, description="of a run with fewer nothing is said")
    gate_slice_rows: int = Field(5000, ge=1, le=1_000_000, description="rows that a gate holds at once, about")
    gate_report_documents: int = Field(1000, ge=0, le=1_000_000, description="rejected ids in a gate's kept result")
