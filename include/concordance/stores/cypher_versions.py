"""The queries for index versions that come and go: which ones are here, and dropping one in small steps.

The same rules as in `cypher.py`. No locks: a version that is dropped has no writers any more.
"""

from __future__ import annotations

DESCRIBED = "MATCH (i:Index) WHERE i.description IS NOT NULL RETURN i.version AS version"

# The next version above one, by the index on the label: a step a version, however many rows each has.
NEXT_VERSION = tuple(
    f"""
MATCH (n:{label})
WHERE n.index_version > $after
RETURN n.index_version AS version
ORDER BY n.index_version
LIMIT 1
"""
    for label in ("Document", "Entity")
)

# Chunks by the index on version and id, which is used only where both are asked for.
DROP_STEPS = (
    """
MATCH (n:Chunk)
WHERE n.index_version = $version AND n.id > ''
WITH n LIMIT $limit
DETACH DELETE n
RETURN count(n) AS deleted
""",
    """
MATCH (n:Document {index_version: $version})
WITH n LIMIT $limit
DETACH DELETE n
RETURN count(n) AS deleted
""",
    """
MATCH (n:Entity {index_version: $version})
WITH n LIMIT $limit
DETACH DELETE n
RETURN count(n) AS deleted
""",
)

# Last: chunks whose id somebody took away, found by reading all chunks, and the description.
DROP_REST = (
    """
MATCH (n:Chunk {index_version: $version})
WITH n LIMIT $limit
DETACH DELETE n
RETURN count(n) AS deleted
""",
    """
MATCH (n:Index {name: $name})
WITH n LIMIT $limit
DETACH DELETE n
RETURN count(n) AS deleted
""",
)
