"""Approval: a run may wait for a person, and its plan says what is unusual about it."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"

WAITING = """
ALTER TABLE concordance.runs DROP CONSTRAINT runs_state_check;
ALTER TABLE concordance.runs ADD CONSTRAINT runs_state_check
    CHECK (state IN ('planning', 'waiting', 'running', 'published', 'nothing', 'planned', 'refused', 'failed'));
UPDATE concordance.runs SET
    request = (request - 'allow_deletes')
        || jsonb_build_object('approved', coalesce(request -> 'allow_deletes', 'false')),
    plan_reference = (plan_reference - 'refused')
        || jsonb_build_object('unusual', jsonb_path_query_array(plan_reference, '$.refused ? (@ != null)'));
"""


def upgrade() -> None:
    op.execute(WAITING)
