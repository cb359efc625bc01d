"""Verdicts: where the newest result of each gate of a plan is kept, also of a gate that stopped its run."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"

VERDICTS = """
CREATE TABLE concordance.verdicts (
    plan_id uuid NOT NULL REFERENCES concordance.plans ON DELETE CASCADE,
    gate text NOT NULL,
    artefact jsonb NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (plan_id, gate)
);
COMMENT ON COLUMN concordance.verdicts.artefact IS
    'The reference of the staged result. The result itself names documents: an erase removes it with them.';
CREATE INDEX plans_by_run ON concordance.plans (run_id);
"""


def upgrade() -> None:
    op.execute(VERDICTS)
