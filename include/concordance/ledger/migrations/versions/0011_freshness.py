"""Freshness: when a source was declared, and when a document that a plan touches changed in its source.

The change belongs to the plan's row of the document, not to its generation: it is written once, as the plan is made,
and a document that was tried in vain hands its time on to the next plan that names it.
"""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"

COLUMNS = """
ALTER TABLE concordance.sources ADD COLUMN declared_at timestamptz NOT NULL DEFAULT now();
COMMENT ON COLUMN concordance.sources.declared_at IS
    'When it was first seen: from then on a source that is not searchable yet grows stale.';

ALTER TABLE concordance.plan_documents ADD COLUMN changed_at timestamptz;
COMMENT ON COLUMN concordance.plan_documents.changed_at IS
    'When the document changed in its source, as far as listings tell; none for a first load, a deletion and a build.';

CREATE INDEX plans_by_publishing ON concordance.plans (source, ended_at) WHERE state = 'published';
CREATE INDEX plans_by_end ON concordance.plans (coalesce(ended_at, drawn_at)) WHERE state IN ('published', 'closed');
CREATE INDEX plan_documents_superseded ON concordance.plan_documents (plan_id) WHERE outcome = 'superseded';
CREATE INDEX quarantine_by_plan ON concordance.quarantine (plan_id);
"""


def upgrade() -> None:
    op.execute(COLUMNS)
