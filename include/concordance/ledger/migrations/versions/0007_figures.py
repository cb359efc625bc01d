"""Verdicts keep what later runs of the source are compared with, and what they warn of."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"

FIGURES = """
ALTER TABLE concordance.verdicts
    ADD COLUMN figures jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN warnings text[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN concordance.verdicts.figures IS 'Counts and means of the run; ids and texts of nobody.';
"""


def upgrade() -> None:
    op.execute(FIGURES)
