"""Lookups that stay lookups at a million chunks: a document of a plan or a batch is found by both keys at once.

By the plan's or the batch's key alone, and a filter for the document, each look reads all that belongs to it: the
square of its documents in all. Which of the two a statement does was left to statistics, which know nothing of rows
that were written a moment ago.
"""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"

INDEXES = """
CREATE INDEX generations_of_plan ON concordance.generations (plan_id, document_id);
CREATE INDEX generations_of_batch ON concordance.generations (batch_id, document_id);
DROP INDEX concordance.generations_by_plan;
DROP INDEX concordance.generations_by_batch;
"""


def upgrade() -> None:
    op.execute(INDEXES)
