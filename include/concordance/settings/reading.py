"""What readers need."""

from __future__ import annotations

from pydantic import BaseModel, Field


class ReadingSettings(BaseModel):
    """Limits of searches and pages."""

    # search
    search_limit: int = Field(10, ge=1, le=1000)
    search_overfetch: int = Field(5, ge=1, le=100)
    search_max_limit: int = Field(1000, ge=1, le=10_000)
    search_min_candidates: int = Field(100, ge=1, le=10_000, description="points of one list, however small the limit")
    search_max_query_characters: int = Field(2000, ge=1, le=100_000)
    search_max_candidates: int = Field(10_000, ge=1, le=100_000, description="points of one list that a search reads")
    search_hits_per_document: int = Field(
        3, ge=1, le=1000, description="more hits of one document only where others do not fill the answer"
    )
    search_max_neighbours: int = Field(10, ge=0, le=1000, description="entities, and linked documents, of one hit")
    snippet_characters: int = Field(300, ge=40, le=10_000)
    reader_attempts: int = Field(3, ge=1, le=20, description="times that a search past reader_timeout_seconds starts")
    dense_weight: float = Field(0.5, ge=0, le=1)

    # the pages
    page_max_rows: int = Field(200, ge=1, le=10_000, description="of one table of a page")
    page_max_bytes: int = Field(10_000_000, ge=1_000, le=1_000_000_000, description="of what one page is made of")
    page_timeout_seconds: float = Field(10, ge=0.5, le=600, description="for one call of the ledger by a page")
