"""Quarantine: where to look, and what a person has dismissed."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"

COLUMNS = """
ALTER TABLE concordance.quarantine
    ADD COLUMN artefact text NOT NULL DEFAULT '',
    ADD COLUMN dismissed_at timestamptz,
    ADD COLUMN dismissed_by text,
    ADD COLUMN note text,
    ADD CHECK ((dismissed_at IS NULL) = (dismissed_by IS NULL));
COMMENT ON COLUMN concordance.quarantine.dismissed_at IS
    'A person will have it no other way: it is not tried again before the document itself changes.';
"""


def upgrade() -> None:
    op.execute(COLUMNS)
