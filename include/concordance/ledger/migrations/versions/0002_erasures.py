"""Erasures: what was asked to be erased, which documents that named, how far it is, and the receipt.

Besides, a plan counts the listed documents that it left out because they are erased (I6).
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"

TABLES = """
ALTER TABLE concordance.plans ADD COLUMN erased bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN concordance.plans.erased IS 'Listed documents that the plan does not touch: they are erased.';

CREATE TABLE concordance.erasures (
    erasure_id uuid PRIMARY KEY,
    requested_by text NOT NULL,
    reason text NOT NULL,
    scope jsonb NOT NULL,
    state text NOT NULL CHECK (state IN ('hidden', 'erased')),
    counts jsonb NOT NULL DEFAULT '{}',
    artefacts_removed bigint NOT NULL DEFAULT 0,
    hidden_at timestamptz NOT NULL,
    erased_at timestamptz,
    receipt jsonb,
    CHECK ((state = 'erased') = (receipt IS NOT NULL)),
    CHECK ((state = 'erased') = (erased_at IS NOT NULL))
);
COMMENT ON COLUMN concordance.erasures.state IS
    'hidden: no reader sees it and nothing ingests it; erased: both stores were read back empty after the last writer.';

CREATE TABLE concordance.erasure_documents (
    erasure_id uuid NOT NULL REFERENCES concordance.erasures,
    document_id uuid NOT NULL REFERENCES concordance.documents,
    PRIMARY KEY (erasure_id, document_id)
);

CREATE TABLE concordance.erasure_texts (
    erasure_id uuid NOT NULL REFERENCES concordance.erasures,
    text_digest bytea NOT NULL,
    PRIMARY KEY (erasure_id, text_digest)
);
COMMENT ON TABLE concordance.erasure_texts IS
    'Digests of the hidden documents'' texts, by which staged vectors are found; gone with the end of the erasure.';
"""


def upgrade() -> None:
    op.execute(TABLES)
