"""What is to be settled is walked batch by batch: what was loaded together lies together in the stores.

By document id each page of it would be read from as many places as it has documents.
"""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"

INDEX = """
CREATE INDEX generations_to_settle ON concordance.generations (index_version, batch_id, document_id)
    WHERE dirty AND state = 'current';
"""


def upgrade() -> None:
    op.execute(INDEX)
