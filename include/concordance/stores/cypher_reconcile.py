"""The queries of reconcile: reading everything that a comparison needs, and writing a generation over.

The same rules as in `cypher.py`: constants, every value bound, nodes found by key, locks before looking.
"""

from __future__ import annotations

from concordance.stores.cypher import RELATIONS_OF_GENERATIONS

_CHUNK = """c.id AS id, c.key AS key, c.document_id AS document_id, c.generation AS generation, c.index AS index,
       c.text AS text, c.text_digest AS text_digest, c.tenant AS tenant, c.heading_path AS heading_path, c.live AS live
"""

# What is read to its end is read without an order: a server that sorts, or walks an index, gives a third of the rows a
# second, and pages in an order cost the local graph all rows each.
SCAN_CHUNKS = f"MATCH (c:Chunk) WHERE c.index_version = $version RETURN {_CHUNK}"

# The version is asked for after the range, or the local graph reads all chunks of the version for it.
CHUNKS_OF_SPAN = f"""
MATCH (c:Chunk)
WHERE c.id > $after AND c.id <= $last
WITH c
WHERE c.index_version = $version
RETURN {_CHUNK}
ORDER BY c.id
LIMIT $limit
"""

_OF_GENERATIONS = """
UNWIND $rows AS row
MATCH (d:Document {key: row.key})<-[:FROM_DOCUMENT]-(c:Chunk)
WHERE c.generation = row.generation
"""
# Every batch is read back: what is not compared is not asked for, and a document's chunks come as one record, because
# the driver waits for each record on its own.
READ_BACK = f"""{_OF_GENERATIONS}
RETURN row.key AS document,
       collect([c.id, c.key, c.document_id, c.generation, c.index, c.text, c.text_digest]) AS chunks
"""
CHUNKS_OF_GENERATIONS = f"{_OF_GENERATIONS}RETURN {_CHUNK}"

_ANCHOR = """d.document_id AS document_id, d.tenant AS tenant, d.source AS source, d.uri AS uri,
       d.generation AS generation, d.title AS title, d.fingerprint AS fingerprint, d.access AS access,
       d.stamp AS stamp, d.content_digest AS content_digest, d.links AS links
"""

ANCHORS = f"UNWIND $rows AS row MATCH (d:Document {{key: row.key}}) RETURN {_ANCHOR}"

SCAN_DOCUMENTS = f"MATCH (d:Document) WHERE d.index_version = $version RETURN {_ANCHOR}"

# What a generation has beside its chunks' own rows. A document is one record, as in READ_BACK: its counts (how many
# chunks, how many shown, how many follow another), then a list of each kind of edge.
CHUNK_COUNTS = """
UNWIND $rows AS row
MATCH (d:Document {key: row.key})<-[:FROM_DOCUMENT]-(c:Chunk)
WHERE c.generation = row.generation
RETURN row.document_id AS document_id, row.generation AS generation, count(c) AS chunks,
       sum(CASE WHEN c.live THEN 1 ELSE 0 END) AS live
"""

NEXT_COUNTS = """
UNWIND $rows AS row
MATCH (d:Document {key: row.key})<-[:FROM_DOCUMENT]-(c:Chunk)-[:NEXT_CHUNK]->(n:Chunk)
WHERE c.generation = row.generation AND n.document_id = c.document_id AND n.generation = c.generation
  AND n.index = c.index + 1
RETURN row.document_id AS document_id, row.generation AS generation, count(n) AS edges
"""

MENTIONS = """
UNWIND $rows AS row
MATCH (d:Document {key: row.key})<-[:FROM_DOCUMENT]-(c:Chunk)<-[m:FROM_CHUNK]-(e:Entity)
WHERE c.generation = row.generation
WITH row, e.entity_key AS entity, sum(m.count) AS count
RETURN row.document_id AS document_id, row.generation AS generation, collect([entity, count]) AS mentions
"""

DOCUMENT_ENTITIES = """
UNWIND $rows AS row
MATCH (d:Document {key: row.key})-[r:HAS_ENTITY]->(e:Entity)
WHERE r.generation = row.generation
RETURN row.document_id AS document_id, row.generation AS generation, collect([r.role, e.entity_key]) AS entities
"""

RELATIONS = f"""{RELATIONS_OF_GENERATIONS}
RETURN r.document_id AS document_id, r.generation AS generation,
       collect([r.kind, s.entity_key, o.entity_key]) AS relations
"""

LINKS = """
UNWIND $rows AS row
MATCH (d:Document {key: row.key})-[r:LINKS_TO]->(t:Document)
WHERE r.generation = row.generation
RETURN row.document_id AS document_id, row.generation AS generation, collect([r.kind, t.document_id]) AS links
"""

SCAN_ENTITIES = """
MATCH (e:Entity)
WHERE e.index_version = $version
RETURN e.key AS key, e.entity_key AS entity_key, e.tenant AS tenant, e.type AS type, e.name AS name
"""

DOCUMENTS_OF_ENTITIES = """
UNWIND $keys AS key
MATCH (e:Entity {key: key})-[:FROM_CHUNK]->(c:Chunk)
RETURN DISTINCT c.document_id AS document_id, c.generation AS generation
LIMIT 1000
"""

DOCUMENTS_WITH_ENTITIES = """
UNWIND $keys AS key
MATCH (e:Entity {key: key})<-[r:HAS_ENTITY]-(d:Document)
RETURN DISTINCT d.document_id AS document_id, r.generation AS generation
LIMIT 1000
"""

DOCUMENTS_RELATING_ENTITIES = """
UNWIND $keys AS key
MATCH (e:Entity {key: key})-[r:RELATED_TO]-(:Entity)
RETURN DISTINCT r.document_id AS document_id, r.generation AS generation
LIMIT 1000
"""

# Generations of rows that hang on nothing, so that a repair knows whose they are.
LOOSE = (
    """
MATCH (c:Chunk {index_version: $version})
WHERE NOT EXISTS { (c)-[:FROM_DOCUMENT]->() }
RETURN DISTINCT c.document_id AS document_id, c.generation AS generation LIMIT $limit
""",
    """
MATCH (e:Entity {index_version: $version})-[r:RELATED_TO]->()
WITH DISTINCT r.document_id AS document_id, r.generation AS generation
WHERE NOT EXISTS {
  MATCH (c:Chunk {document_id: document_id}) WHERE c.generation = generation AND c.index_version = $version
}
RETURN document_id, generation LIMIT $limit
""",
    """
MATCH (d:Document {index_version: $version})-[r:HAS_ENTITY|LINKS_TO]->()
WITH DISTINCT d, r.generation AS generation
WHERE NOT EXISTS { MATCH (d)<-[:FROM_DOCUMENT]-(c:Chunk) WHERE c.generation = generation }
RETURN d.document_id AS document_id, generation LIMIT $limit
""",
)

UNUSED_ENTITIES = """
MATCH (e:Entity {index_version: $version})
WHERE NOT EXISTS { (e)--() }
RETURN e.key AS key LIMIT $limit
"""

EMPTY_DOCUMENTS = """
MATCH (d:Document {index_version: $version})
WHERE NOT EXISTS { (d)<-[:FROM_DOCUMENT]-() } AND NOT EXISTS { (d)-[:HAS_ENTITY|LINKS_TO]->() }
RETURN d.key AS key LIMIT $limit
"""

# --- writing a generation over --------------------------------------------------------------------------------------

# By key too: a chunk whose own properties were altered is not found by its document and generation.
DELETE_CHUNKS_BY_KEY = """
UNWIND $keys AS key
MATCH (c:Chunk {key: key})
DETACH DELETE c
"""

DELETE_CHUNKS_BY_ID = """
UNWIND $ids AS id
MATCH (c:Chunk {index_version: $version, id: id})
DETACH DELETE c
"""

RESET_DOCUMENTS = """
UNWIND $rows AS row
MATCH (d:Document {key: row.key})
SET d += row.properties
"""

RESET_ENTITIES = """
UNWIND $rows AS row
MATCH (e:Entity {key: row.key})
SET e += row.properties
"""

SHOW_DESCRIPTION = "MATCH (i:Index {name: $name}) RETURN i.description AS description"
SET_DESCRIPTION = "MERGE (i:Index {name: $name}) SET i.version = $version, i.description = $description"
