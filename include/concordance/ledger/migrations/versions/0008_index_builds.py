"""Builds of index versions beside the live one: who builds, what each document was made from, and the hold of a swap.

`source_digest` says what a document was in its source, whatever settings indexed it: with `made_from` it tells whether
two index versions hold the same state of a document.
"""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"

TABLES = """
ALTER TABLE concordance.generations
    ADD COLUMN source_digest text,
    ADD COLUMN made_from_version integer,
    ADD COLUMN made_from bigint,
    ADD COLUMN is_stale boolean NOT NULL DEFAULT false,
    ADD CHECK ((made_from IS NULL) = (made_from_version IS NULL));
COMMENT ON COLUMN concordance.generations.made_from IS
    'The generation of this document in the index version made_from_version from which a build made this one.';
COMMENT ON COLUMN concordance.generations.is_stale IS
    'An older state than was known as it became visible: the next ingest reads the document, whatever its stamp says.';

ALTER TABLE concordance.plan_documents ADD COLUMN made_from bigint;

ALTER TABLE concordance.runs ADD COLUMN build_id text;
COMMENT ON COLUMN concordance.runs.build_id IS
    'The build whose plan this run carries out; it holds the lock of the builder and no source.';

CREATE TABLE concordance.builds (
    build_id text PRIMARY KEY,
    index_version integer REFERENCES concordance.index_versions,
    state text NOT NULL CHECK (state IN ('running', 'held', 'published', 'nothing', 'refused', 'failed')),
    request jsonb NOT NULL,
    report jsonb,
    started_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);

CREATE TABLE concordance.builder (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    holder text,
    lease_until timestamptz
);
COMMENT ON TABLE concordance.builder IS 'One build at a time: its lock.';
INSERT INTO concordance.builder DEFAULT VALUES;

ALTER TABLE concordance.control ADD COLUMN held_by text, ADD COLUMN held_until timestamptz;
COMMENT ON COLUMN concordance.control.held_until IS
    'Until then nothing is published but what a swap needs: set for a moment when runs keep overtaking a build.';

"""


def upgrade() -> None:
    op.execute(TABLES)
