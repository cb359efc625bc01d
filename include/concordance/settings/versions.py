"""What builds of an index version need, and the gate that compares two of them."""

from __future__ import annotations

from pydantic import BaseModel, Field


class VersionSettings(BaseModel):
    """Limits and tolerances of builds, swaps and drops."""

    # builds of an index version beside the live one (reindex)
    rebuild_weekday: int = Field(
        6, ge=-1, le=6, description="the night of the week that rebuilds whatever changed, 0 is Monday; -1: none"
    )
    build_shard_bytes: int = Field(
        2_000_000,
        ge=1_000,
        le=10_000_000_000,
        description="of chunks: what an ingest waits for at most, for an encoder",
    )
    build_max_shards: int = Field(256, ge=1, le=1000, description="of one round over all sources")
    max_build_rounds: int = Field(20, ge=1, le=1000, description="of catching up with the live version")
    max_lost_documents: int = Field(
        0, ge=0, le=1_000_000, description="that a new version may lack, because nobody can make them again"
    )
    kept_retired_versions: int = Field(2, ge=0, le=20, description="to go back to; older ones are dropped")
    swap_patience_seconds: float = Field(
        600, ge=0, le=86_400, description="that a swap waits for runs under way: what they loaded would be in vain"
    )
    swap_hold_seconds: float = Field(2, ge=0.1, le=60, description="that a swap keeps runs from publishing, at most")
    swap_attempts: int = Field(3, ge=1, le=100, description="before a swap holds publishing")
    drop_page_rows: int = Field(500, ge=1, le=100_000, description="of a dropped version that are deleted at once")

    # the relevance gate (quality.relevance); tolerances are of a mean over all queries, which is in 0..1
    golden_queries_file: str = Field("", description="golden queries, .toml or .jsonl; empty: none")
    golden_max_bytes: int = Field(1_000_000, ge=1_000, le=100_000_000, description="of the file of golden queries")
    golden_max_queries: int = Field(1_000, ge=1, le=100_000)
    golden_max_documents: int = Field(100, ge=1, le=10_000, description="that answer one golden query")
    relevance_queries: int = Field(200, ge=0, le=10_000, description="made of the live version's documents, at most")
    relevance_sample_documents: int = Field(400, ge=1, le=100_000, description="whose texts are read to make them")
    relevance_min_queries: int = Field(30, ge=1, le=10_000, description="that live answers; below, the gate warns")
    relevance_resamples: int = Field(10_000, ge=100, le=1_000_000, description="of the paired bootstrap")
    relevance_confidence: float = Field(0.95, gt=0.5, lt=1, description="of each bound of a mean difference")
    relevance_recall_tolerance: float = Field(0.03, ge=0, le=1, description="loss of recall@10 that is no fault")
    relevance_mrr_tolerance: float = Field(0.05, ge=0, le=1, description="loss of MRR@10 that is no fault")
    relevance_ndcg_tolerance: float = Field(0.05, ge=0, le=1, description="loss of nDCG@10 that is no fault")
    relevance_list_tolerance: float = Field(
        0.10, ge=0, le=1, description="loss of recall@10 of the dense or the sparse list alone"
    )
    relevance_hnsw_queries: int = Field(100, ge=0, le=10_000, description="on which HNSW is compared with exact search")
    relevance_min_hnsw_recall: float = Field(0.95, ge=0, le=1, description="of HNSW against exact search, at 10")
    relevance_unindexed_points: int = Field(
        1_000, ge=0, le=100_000_000, description="vectors without HNSW that searches may compare one by one"
    )
    relevance_vector_chunks: int = Field(64, ge=0, le=10_000, description="whose vectors are compared with the model")
    relevance_vector_epsilon: float = Field(
        1e-5, ge=0, le=2, description="cosine distance of a stored vector from the model's"
    )
    relevance_threads: int = Field(4, ge=1, le=64, description="that ask both versions at once")
    relevance_index_seconds: float = Field(1800, ge=1, le=86_400, description="for an engine to build HNSW")
