"""Steps along other than the allowed edges are refused by the database itself (I8), whoever asks for them.

What a generation wrote does not change while it is open or current. Numbers only grow. `is_damaged` marks a generation
whose document the next ingest loads anew, whatever its stamp says.
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"

STEPS = """
CREATE TABLE concordance.allowed_steps (
    kind text NOT NULL,
    before text NOT NULL,
    after text NOT NULL,
    PRIMARY KEY (kind, before, after)
);
COMMENT ON TABLE concordance.allowed_steps IS 'The edges along which states move; read by the triggers refuse_*.';
INSERT INTO concordance.allowed_steps (kind, before, after) VALUES
    ('generations', 'loading', 'verified'),
    ('generations', 'loading', 'closed'),
    ('generations', 'verified', 'current'),
    ('generations', 'verified', 'closed'),
    ('generations', 'current', 'replaced'),
    ('generations', 'replaced', 'swept'),
    ('generations', 'closed', 'swept'),
    ('batches', 'intent', 'verified'),
    ('batches', 'intent', 'closed'),
    ('plans', 'drawn', 'made'),
    ('plans', 'drawn', 'closed'),
    ('plans', 'made', 'published'),
    ('plans', 'made', 'closed'),
    ('index_versions', 'building', 'ready'),
    ('index_versions', 'ready', 'live'),
    ('index_versions', 'live', 'retired'),
    ('index_versions', 'retired', 'live'),
    ('index_versions', 'retired', 'dropping'),
    ('index_versions', 'building', 'dropping'),
    ('index_versions', 'ready', 'dropping'),
    ('index_versions', 'dropping', 'dropped');

CREATE FUNCTION concordance.refuse_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM concordance.allowed_steps
                   WHERE kind = TG_TABLE_NAME AND before = OLD.state AND after = NEW.state) THEN
        RAISE EXCEPTION '% -> % is not a step of %', OLD.state, NEW.state, TG_TABLE_NAME
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE FUNCTION concordance.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a row of % names something else than before, or a number that fell', TG_TABLE_NAME
        USING ERRCODE = 'check_violation';
END $$;

CREATE TRIGGER refuse_step BEFORE UPDATE OF state ON concordance.generations FOR EACH ROW
    WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION concordance.refuse_step();
CREATE TRIGGER refuse_step BEFORE UPDATE OF state ON concordance.batches FOR EACH ROW
    WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION concordance.refuse_step();
CREATE TRIGGER refuse_step BEFORE UPDATE OF state ON concordance.plans FOR EACH ROW
    WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION concordance.refuse_step();
CREATE TRIGGER refuse_step BEFORE UPDATE OF state ON concordance.index_versions FOR EACH ROW
    WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION concordance.refuse_step();

CREATE TRIGGER refuse_change BEFORE UPDATE ON concordance.generations FOR EACH ROW
    WHEN ((OLD.index_version, OLD.document_id, OLD.generation, OLD.batch_id, OLD.plan_id)
          IS DISTINCT FROM (NEW.index_version, NEW.document_id, NEW.generation, NEW.batch_id, NEW.plan_id)
      OR (OLD.state = NEW.state AND NEW.state IN ('loading', 'verified', 'current')
          AND (OLD.base, OLD.title, OLD.fingerprint, OLD.access, OLD.content_digest, OLD.chunk_count)
          IS DISTINCT FROM (NEW.base, NEW.title, NEW.fingerprint, NEW.access, NEW.content_digest, NEW.chunk_count)))
    EXECUTE FUNCTION concordance.refuse_change();
CREATE TRIGGER refuse_change BEFORE UPDATE ON concordance.documents FOR EACH ROW
    WHEN (OLD.document_id <> NEW.document_id OR NEW.last_generation < OLD.last_generation)
    EXECUTE FUNCTION concordance.refuse_change();
CREATE TRIGGER refuse_change BEFORE UPDATE ON concordance.sources FOR EACH ROW
    WHEN (NEW.last_plan_number < OLD.last_plan_number) EXECUTE FUNCTION concordance.refuse_change();
CREATE TRIGGER refuse_change BEFORE UPDATE ON concordance.batches FOR EACH ROW
    WHEN (OLD.batch_id <> NEW.batch_id OR OLD.plan_id <> NEW.plan_id OR NEW.token < OLD.token
          OR OLD.manifest_digest <> NEW.manifest_digest)
    EXECUTE FUNCTION concordance.refuse_change();

ALTER TABLE concordance.generations ADD COLUMN is_damaged boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN concordance.generations.is_damaged IS
    'Reconcile could not put its rows right in place: the next ingest loads the document anew.';
"""


def upgrade() -> None:
    # psycopg would take the percent signs of RAISE for placeholders.
    op.get_bind().exec_driver_sql(STEPS.replace("%", "%%"))
