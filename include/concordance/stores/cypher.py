"""Every query that the graph adapter sends, as constants: no driver here, every value bound.

Labels and relationship types stand in these texts and come from nowhere else; a name from a document is only ever a
value. Nodes are found by `key` alone (a short digest with a uniqueness constraint): strings over 8 kB may be values
but never in an index, or the whole transaction fails.

Locks: a query named `LOCK_*` or `MERGE_*` sets a property of each node to the value that it has, which takes the
node's write lock until the commit (MERGE on a node that is there takes none). Writers and sweeps take them in the same
order, documents before entities and each by key, so that they queue instead of deadlocking, and what they look at
after the lock cannot change any more. A node that was deleted while a lock was awaited is passed over in silence: the
queries in `COUNTED` return how many of their rows they could apply, and the adapter starts again when some are missing.
"""

from __future__ import annotations

NODE_LABELS = ("Document", "Chunk", "Entity")

SCHEMA = (
    *(
        f"CREATE CONSTRAINT concordance_{label.lower()}_key IF NOT EXISTS FOR (n:{label}) REQUIRE n.key IS UNIQUE"
        for label in NODE_LABELS
    ),
    "CREATE CONSTRAINT concordance_index_name IF NOT EXISTS FOR (n:Index) REQUIRE n.name IS UNIQUE",
    "CREATE INDEX concordance_document_version IF NOT EXISTS FOR (n:Document) ON (n.index_version)",
    "CREATE INDEX concordance_entity_version IF NOT EXISTS FOR (n:Entity) ON (n.index_version)",
    # A version's chunks are dropped by this.
    "CREATE INDEX concordance_chunk_order IF NOT EXISTS FOR (n:Chunk) ON (n.index_version, n.id)",
    # Ranges of ids: the local graph looks for them in an index on the id alone.
    "CREATE INDEX concordance_chunk_id IF NOT EXISTS FOR (n:Chunk) ON (n.id)",
    # Chunks are swept by this, also those whose Document node somebody deleted by hand.
    "CREATE INDEX concordance_chunk_document IF NOT EXISTS FOR (n:Chunk) ON (n.document_id)",
    "CREATE INDEX concordance_relation_document IF NOT EXISTS FOR ()-[r:RELATED_TO]-() ON (r.document_id)",
)

CONSTRAINTS = frozenset((*(f"concordance_{label.lower()}_key" for label in NODE_LABELS), "concordance_index_name"))

SHOW_CONSTRAINTS = "SHOW CONSTRAINTS YIELD name RETURN name"
SHOW_INDEXES = "SHOW INDEXES YIELD name, state WHERE name STARTS WITH 'concordance_' RETURN name, state"

PING = "RETURN 1 AS one"

# --- write ----------------------------------------------------------------------------------------------------------

MERGE_DOCUMENTS = """
UNWIND $rows AS row
MERGE (d:Document {key: row.key})
ON CREATE SET d += row.properties
SET d.index_version = $version
"""

MERGE_ENTITIES = """
UNWIND $rows AS row
MERGE (e:Entity {key: row.key})
ON CREATE SET e += row.properties
SET e.index_version = $version
"""

MERGE_CHUNKS = """
UNWIND $rows AS row
MATCH (d:Document {key: row.document})
MERGE (c:Chunk {key: row.key})
ON CREATE SET c += row.properties
MERGE (c)-[:FROM_DOCUMENT]->(d)
RETURN count(*) AS rows
"""

MERGE_NEXT_CHUNKS = """
UNWIND $rows AS row
MATCH (c:Chunk {key: row.key})
MATCH (n:Chunk {key: row.next})
MERGE (c)-[:NEXT_CHUNK]->(n)
RETURN count(*) AS rows
"""

# From the chunk's side, which has few edges: the local graph walks those of the node that is named first, and an entity
# may be mentioned by every chunk.
MERGE_MENTIONS = """
UNWIND $rows AS row
MATCH (c:Chunk {key: row.chunk})
MATCH (e:Entity {key: row.entity})
MERGE (c)<-[r:FROM_CHUNK]-(e)
ON CREATE SET r.count = row.count
RETURN count(*) AS rows
"""

MERGE_DOCUMENT_ENTITIES = """
UNWIND $rows AS row
MATCH (d:Document {key: row.document})
MATCH (e:Entity {key: row.entity})
MERGE (d)-[:HAS_ENTITY {role: row.role, generation: row.generation}]->(e)
RETURN count(*) AS rows
"""

MERGE_RELATIONS = """
UNWIND $rows AS row
MATCH (s:Entity {key: row.subject})
MATCH (o:Entity {key: row.object})
MERGE (s)-[:RELATED_TO {kind: row.kind, document_id: row.document_id, generation: row.generation}]->(o)
RETURN count(*) AS rows
"""

MERGE_LINKS = """
UNWIND $rows AS row
MATCH (d:Document {key: row.document})
MATCH (t:Document {key: row.target})
MERGE (d)-[:LINKS_TO {kind: row.kind, generation: row.generation}]->(t)
"""

# Each row hangs on nodes of the same transaction, so a row less means that one of them was swept in between.
COUNTED = frozenset((MERGE_CHUNKS, MERGE_NEXT_CHUNKS, MERGE_MENTIONS, MERGE_DOCUMENT_ENTITIES, MERGE_RELATIONS))

# --- settle, hide ---------------------------------------------------------------------------------------------------

LOCK_DOCUMENTS = """
UNWIND $keys AS key
MATCH (d:Document {key: key})
SET d.index_version = $version
"""

SETTLE_DOCUMENTS = """
UNWIND $rows AS row
MATCH (d:Document {key: row.key})
WHERE coalesce(d.generation, -1) <= row.generation
SET d += row.properties
"""

# Only where the node now shows this generation, that is, where the settle was not too late.
SETTLE_CHUNKS = """
UNWIND $rows AS row
MATCH (d:Document {key: row.key})<-[:FROM_DOCUMENT]-(c:Chunk)
WHERE d.generation = row.generation AND c.generation <= row.generation AND c.live <> (c.generation = row.generation)
SET c.live = (c.generation = row.generation)
"""

HIDE_CHUNKS = """
UNWIND $rows AS row
MATCH (d:Document {key: row.key})<-[:FROM_DOCUMENT]-(c:Chunk)
WHERE c.generation <= row.generation AND c.live
SET c.live = false
"""

# --- sweep ----------------------------------------------------------------------------------------------------------

ENTITIES_OF_CHUNKS = """
UNWIND $rows AS row
MATCH (c:Chunk {document_id: row.document_id})<-[:FROM_CHUNK]-(e:Entity)
WHERE c.generation = row.generation AND c.index_version = $version
RETURN DISTINCT e.key AS key
"""

ENTITIES_OF_DOCUMENTS = """
UNWIND $rows AS row
MATCH (d:Document {key: row.key})-[r:HAS_ENTITY]->(e:Entity)
WHERE r.generation = row.generation
RETURN DISTINCT e.key AS key
"""

# Relations by the index on their document, which the local graph looks into for a list of values alone, and between
# nodes without a label: otherwise it walks all entities for each row.
RELATIONS_OF_GENERATIONS = """
MATCH (s)-[r:RELATED_TO]->(o)
WHERE r.document_id IN $documents AND [r.document_id, r.generation] IN $generations AND s.index_version = $version
"""
ENTITIES_OF_RELATIONS = f"""{RELATIONS_OF_GENERATIONS}
UNWIND [s.key, o.key] AS key
RETURN DISTINCT key
"""

LOCK_ENTITIES = """
UNWIND $keys AS key
MATCH (e:Entity {key: key})
SET e.index_version = $version
"""

DELETE_CHUNKS = """
UNWIND $rows AS row
MATCH (c:Chunk {document_id: row.document_id})
WHERE c.generation = row.generation AND c.index_version = $version
DETACH DELETE c
RETURN count(c) AS deleted
"""

DELETE_DOCUMENT_EDGES = """
UNWIND $rows AS row
MATCH (d:Document {key: row.key})-[r:HAS_ENTITY|LINKS_TO]->()
WHERE r.generation = row.generation
DELETE r
"""

DELETE_RELATIONS = f"{RELATIONS_OF_GENERATIONS}DELETE r"

DELETE_UNUSED_ENTITIES = """
UNWIND $keys AS key
MATCH (e:Entity {key: key})
WHERE NOT EXISTS { (e)--() }
DELETE e
"""

# The links that point to it go with the node: they are written again by the batch that brings it back.
DELETE_EMPTY_DOCUMENTS = """
UNWIND $keys AS key
MATCH (d:Document {key: key})
WHERE NOT EXISTS { (d)<-[:FROM_DOCUMENT]-() } AND NOT EXISTS { (d)-[:HAS_ENTITY|LINKS_TO]->() }
DETACH DELETE d
"""

# --- read -----------------------------------------------------------------------------------------------------------

# All that one document has, by generation; the node itself belongs to none.
ROWS_OF_DOCUMENTS = (
    """
UNWIND $rows AS row
MATCH (d:Document {key: row.key})
RETURN row.document_id AS document_id, 0 AS generation, count(d) AS rows
""",
    """
UNWIND $rows AS row
MATCH (c:Chunk {document_id: row.document_id})
WHERE c.index_version = $version
RETURN c.document_id AS document_id, c.generation AS generation, count(c) AS rows
""",
    """
UNWIND $rows AS row
MATCH (d:Document {key: row.key})-[r:HAS_ENTITY|LINKS_TO]->()
RETURN row.document_id AS document_id, r.generation AS generation, count(r) AS rows
""",
    """
MATCH (s)-[r:RELATED_TO]->()
WHERE r.document_id IN $documents AND s.index_version = $version
RETURN r.document_id AS document_id, r.generation AS generation, count(r) AS rows
""",
)

CHUNK_ENTITIES = """
UNWIND $keys AS key
MATCH (c:Chunk {key: key})
OPTIONAL MATCH (e:Entity)-[m:FROM_CHUNK]->(c)
RETURN c.id AS id, e.entity_key AS entity_key, e.tenant AS tenant, e.type AS type, e.name AS name, m.count AS count
"""

CHUNK_LINKS = """
UNWIND $keys AS key
MATCH (c:Chunk {key: key})-[:FROM_DOCUMENT]->(:Document)-[r:LINKS_TO]->(t:Document)
WHERE r.generation = c.generation
RETURN DISTINCT c.id AS id, t.document_id AS target
"""

ORPHANS = {
    "chunks_without_document": """
MATCH (c:Chunk {index_version: $version})
WHERE NOT EXISTS { (c)-[:FROM_DOCUMENT]->() }
RETURN count(c) AS rows
""",
    "documents_without_chunk": """
MATCH (d:Document {index_version: $version})
WHERE NOT EXISTS { (d)<-[:FROM_DOCUMENT]-() }
RETURN count(d) AS rows
""",
    "entities_without_edge": """
MATCH (e:Entity {index_version: $version})
WHERE NOT EXISTS { (e)--() }
RETURN count(e) AS rows
""",
    "relations_without_chunk": """
MATCH (e:Entity {index_version: $version})-[r:RELATED_TO]->()
WITH r.document_id AS document_id, r.generation AS generation, count(r) AS relations
WHERE NOT EXISTS {
  MATCH (c:Chunk {document_id: document_id}) WHERE c.generation = generation AND c.index_version = $version
}
RETURN coalesce(sum(relations), 0) AS rows
""",
}

COUNTS = {
    "documents": "MATCH (n:Document {index_version: $version}) RETURN count(n) AS rows",
    "chunks": "MATCH (n:Chunk {index_version: $version}) RETURN count(n) AS rows",
    "entities": "MATCH (n:Entity {index_version: $version}) RETURN count(n) AS rows",
    "mentions": "MATCH (:Chunk {index_version: $version})<-[r:FROM_CHUNK]-() RETURN count(r) AS rows",
    "document_entities": "MATCH (:Document {index_version: $version})-[r:HAS_ENTITY]->() RETURN count(r) AS rows",
    "relations": "MATCH (:Entity {index_version: $version})-[r:RELATED_TO]->() RETURN count(r) AS rows",
    "links": "MATCH (:Document {index_version: $version})-[r:LINKS_TO]->() RETURN count(r) AS rows",
}

COUNTS_OF_SOURCE = {
    "documents": "MATCH (d:Document {index_version: $version}) WHERE d.source = $source RETURN count(d) AS rows",
    "chunks": """
MATCH (d:Document {index_version: $version})<-[r:FROM_DOCUMENT]-()
WHERE d.source = $source
RETURN count(r) AS rows
""",
}

POINTER_NAME = "concordance"
SET_POINTER = "MERGE (i:Index {name: $name}) SET i.version = $version"
GET_POINTER = "MATCH (i:Index {name: $name}) RETURN i.version AS version"
