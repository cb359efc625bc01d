"""Alerts: each fires once while it is open, and an outbox says what of it was told where."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"

TABLES = """
CREATE TABLE concordance.alerts (
    alert_id uuid PRIMARY KEY,
    key text NOT NULL CHECK (length(key) <= 2000),
    kind text NOT NULL,
    subject jsonb NOT NULL,
    expected text NOT NULL,
    actual text NOT NULL,
    link text NOT NULL,
    since timestamptz NOT NULL,
    fired_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    recovered_at timestamptz CHECK (recovered_at >= fired_at),
    ended text NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX alerts_open ON concordance.alerts (key) WHERE recovered_at IS NULL;
CREATE INDEX alerts_by_key ON concordance.alerts (key, recovered_at);
CREATE INDEX alerts_by_time ON concordance.alerts (fired_at);
COMMENT ON COLUMN concordance.alerts.key IS
    'Kind and subject: of all processes that see the same breach, one fires.';

CREATE TABLE concordance.alert_deliveries (
    alert_id uuid NOT NULL REFERENCES concordance.alerts ON DELETE CASCADE,
    happening text NOT NULL CHECK (happening IN ('fired', 'recovered')),
    channel text NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    not_before timestamptz NOT NULL DEFAULT clock_timestamp(),
    delivered_at timestamptz,
    failed text NOT NULL DEFAULT '',
    PRIMARY KEY (alert_id, happening, channel)
);
CREATE INDEX alert_deliveries_due ON concordance.alert_deliveries (not_before) WHERE delivered_at IS NULL;
COMMENT ON COLUMN concordance.alert_deliveries.not_before IS
    'Nobody else sends it before: the end of the lease of whoever sends it now, or of the wait after a failure.';
"""


def upgrade() -> None:
    op.execute(TABLES)
