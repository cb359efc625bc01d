"""What of a plan's work the metrics have told: a task that is repeated tells only what is new."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"

COUNTED = """
CREATE TABLE concordance.counted (
    plan_id uuid PRIMARY KEY REFERENCES concordance.plans ON DELETE CASCADE,
    totals jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON COLUMN concordance.counted.totals IS
    'By counter, with the shard or the reason: how much of it was sent. Counts only, never names of documents.';
"""


def upgrade() -> None:
    op.execute(COUNTED)
