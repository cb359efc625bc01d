"""The first tables: sources, plans, batches, generations, chunks, links, index versions, quarantine, tombstones.

There is no downgrade: a released ledger only moves forward.
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None

TABLES = """
CREATE TABLE concordance.control (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    epoch bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE concordance.control IS 'The publish epoch: raised by every flip of the live version.';
INSERT INTO concordance.control DEFAULT VALUES;

CREATE TABLE concordance.index_versions (
    version integer PRIMARY KEY CHECK (version > 0),
    state text NOT NULL CHECK (state IN ('building', 'ready', 'live', 'retired', 'dropping', 'dropped')),
    settings jsonb NOT NULL,
    settings_digest text NOT NULL,
    frozen jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    state_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX index_versions_one_live ON concordance.index_versions ((true)) WHERE state = 'live';

CREATE FUNCTION concordance.covers(scope text, uri text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN scope = '' OR uri = scope OR starts_with(uri, scope || '/');
COMMENT ON FUNCTION concordance.covers IS
    'A scope is a sub-path of a source: empty is everything, a is the document a and everything below a/.';

CREATE TABLE concordance.sources (
    source text PRIMARY KEY,
    tenant text NOT NULL,
    last_plan_number bigint NOT NULL DEFAULT 0,
    lease_holder text,
    lease_until timestamptz
);

CREATE TABLE concordance.runs (
    run_id text PRIMARY KEY,
    source text NOT NULL REFERENCES concordance.sources,
    state text NOT NULL
        CHECK (state IN ('planning', 'running', 'published', 'nothing', 'planned', 'refused', 'failed')),
    request jsonb NOT NULL,
    plan_reference jsonb,
    report jsonb,
    started_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
CREATE INDEX runs_by_source ON concordance.runs (source, started_at);

CREATE TABLE concordance.plans (
    plan_id uuid PRIMARY KEY,
    source text NOT NULL REFERENCES concordance.sources,
    number bigint NOT NULL,
    run_id text NOT NULL REFERENCES concordance.runs,
    scope text NOT NULL,
    index_version integer NOT NULL REFERENCES concordance.index_versions,
    epoch bigint NOT NULL,
    state text NOT NULL CHECK (state IN ('drawn', 'made', 'published', 'closed')),
    discovered bigint NOT NULL DEFAULT 0,
    unchanged bigint NOT NULL DEFAULT 0,
    still_quarantined bigint NOT NULL DEFAULT 0,
    drawn_at timestamptz NOT NULL DEFAULT now(),
    made_at timestamptz,
    ended_at timestamptz,
    UNIQUE (source, number)
);

CREATE TABLE concordance.documents (
    document_id uuid PRIMARY KEY,
    tenant text NOT NULL,
    source text NOT NULL REFERENCES concordance.sources,
    uri text NOT NULL,
    last_generation bigint NOT NULL DEFAULT 0,
    UNIQUE (source, uri)
);
COMMENT ON COLUMN concordance.documents.last_generation IS 'Only grows: a generation number is never used twice.';

CREATE TABLE concordance.tombstones (
    document_id uuid PRIMARY KEY REFERENCES concordance.documents,
    kind text NOT NULL CHECK (kind IN ('deleted', 'erased')),
    at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE concordance.plan_documents (
    plan_id uuid NOT NULL REFERENCES concordance.plans ON DELETE CASCADE,
    document_id uuid NOT NULL REFERENCES concordance.documents,
    action text NOT NULL CHECK (action IN ('add', 'change', 'delete')),
    base bigint,
    shard integer,
    outcome text CHECK (outcome IN ('committed', 'deleted', 'quarantined', 'superseded', 'erased')),
    reason text,
    PRIMARY KEY (plan_id, document_id),
    CHECK ((outcome = 'quarantined') = (reason IS NOT NULL))
);
COMMENT ON COLUMN concordance.plan_documents.base IS 'The generation that was current when the plan was made.';

CREATE TABLE concordance.batches (
    batch_id uuid PRIMARY KEY,
    plan_id uuid NOT NULL REFERENCES concordance.plans,
    index_version integer NOT NULL REFERENCES concordance.index_versions,
    state text NOT NULL CHECK (state IN ('intent', 'verified', 'closed')),
    token bigint NOT NULL,
    holder text NOT NULL,
    lease_until timestamptz NOT NULL,
    manifest_digest text NOT NULL,
    begun_at timestamptz NOT NULL DEFAULT now(),
    verified_at timestamptz
);
CREATE INDEX batches_by_plan ON concordance.batches (plan_id);

CREATE TABLE concordance.generations (
    index_version integer NOT NULL REFERENCES concordance.index_versions,
    document_id uuid NOT NULL REFERENCES concordance.documents,
    generation bigint NOT NULL CHECK (generation > 0),
    batch_id uuid NOT NULL REFERENCES concordance.batches,
    plan_id uuid NOT NULL REFERENCES concordance.plans,
    state text NOT NULL CHECK (state IN ('loading', 'verified', 'current', 'replaced', 'closed', 'swept')),
    dirty boolean NOT NULL DEFAULT true,
    base bigint,
    title text,
    fingerprint text NOT NULL,
    stamp text NOT NULL,
    access text[] NOT NULL,
    content_digest text NOT NULL,
    chunk_count integer NOT NULL,
    writer_until timestamptz NOT NULL,
    current_at timestamptz,
    ended_at timestamptz,
    PRIMARY KEY (index_version, document_id, generation)
);
CREATE UNIQUE INDEX generations_one_current ON concordance.generations (index_version, document_id)
    WHERE state = 'current';
CREATE INDEX generations_dirty ON concordance.generations (index_version, document_id) WHERE dirty;
CREATE INDEX generations_by_batch ON concordance.generations (batch_id);
CREATE INDEX generations_by_plan ON concordance.generations (plan_id);

CREATE VIEW concordance.document_generations AS
    SELECT d.document_id, d.tenant, d.source, d.uri, g.generation, g.title, g.fingerprint, g.access,
           g.index_version, g.state, g.dirty
    FROM concordance.generations g JOIN concordance.documents d USING (document_id);

CREATE TABLE concordance.chunks (
    index_version integer NOT NULL,
    document_id uuid NOT NULL,
    generation bigint NOT NULL,
    ordinal integer NOT NULL,
    chunk_id uuid NOT NULL,
    text_digest bytea NOT NULL,
    PRIMARY KEY (index_version, chunk_id),
    UNIQUE (index_version, document_id, generation, ordinal),
    FOREIGN KEY (index_version, document_id, generation) REFERENCES concordance.generations ON DELETE CASCADE
);
CREATE INDEX chunks_by_digest ON concordance.chunks (index_version, text_digest);

CREATE TABLE concordance.links (
    index_version integer NOT NULL,
    document_id uuid NOT NULL,
    generation bigint NOT NULL,
    target_id uuid NOT NULL,
    kind text NOT NULL,
    PRIMARY KEY (index_version, document_id, generation, target_id, kind),
    FOREIGN KEY (index_version, document_id, generation) REFERENCES concordance.generations ON DELETE CASCADE
);
CREATE INDEX links_by_target ON concordance.links (index_version, target_id);
COMMENT ON TABLE concordance.links IS
    'Every link of every generation that is not swept; one whose target is not there yet waits here for it.';

CREATE TABLE concordance.quarantine (
    index_version integer NOT NULL REFERENCES concordance.index_versions,
    document_id uuid NOT NULL REFERENCES concordance.documents,
    plan_id uuid NOT NULL,
    stage text NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    stamp text NOT NULL,
    rejected_under text NOT NULL,
    attempts integer NOT NULL DEFAULT 1,
    first_at timestamptz NOT NULL DEFAULT now(),
    last_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (index_version, document_id)
);
COMMENT ON COLUMN concordance.quarantine.rejected_under IS
    'Digest of the code revision and settings that rejected it: unchanged, the document is not tried again.';
"""


def upgrade() -> None:
    op.execute(TABLES)
