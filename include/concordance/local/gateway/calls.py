"""What each call of the interface does, as a table from method and path to a function.

A function takes the catalogue and the `Call` and returns the `result` of the answer, or raises `Refused`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

from qdrant_edge import EdgeShard, QueryBatchRequest, ScoredPoint, UpdateOperation

from concordance.local.gateway import answers, queries, schema, wire, writes
from concordance.local.gateway.catalog import Catalog
from concordance.local.gateway.refusals import Refused, malformed, of_engine
from concordance.local.gateway.schema import Schema
from concordance.local.gateway.wire import Body, Json

INTERFACE_VERSION: Final = "1.20.0"
"""The version of Qdrant's REST interface that is served; the client compares it with its own."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request: the names in its path, its query string and its body."""

    path: Mapping[str, str]
    options: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Json:
        return wire.decode(self.body)


def identify(catalog: Catalog, call: Call) -> Json:
    return {"title": f"concordance gateway, qdrant-edge {version('qdrant-edge-py')}", "version": INTERFACE_VERSION}


def telemetry(catalog: Catalog, call: Call) -> Json:
    return {
        "id": "gateway",
        "app": {"name": "concordance gateway", "version": INTERFACE_VERSION},
        "collections": {"number_of_collections": len(catalog.names())},
    }


# --- collections and aliases --------------------------------------------------------------------------------------


def list_collections(catalog: Catalog, call: Call) -> Json:
    return {"collections": [{"name": name} for name in catalog.names()]}


def create_collection(catalog: Catalog, call: Call) -> Json:
    catalog.create(call.path["name"], call.json)
    return True


def update_collection(catalog: Catalog, call: Call) -> Json:
    catalog.update(call.path["name"], call.json)
    return True


def delete_collection(catalog: Catalog, call: Call) -> Json:
    return catalog.delete(call.path["name"])


def collection_exists(catalog: Catalog, call: Call) -> Json:
    return {"exists": catalog.exists(call.path["name"])}


def describe_collection(catalog: Catalog, call: Call) -> Json:
    entry = catalog.entry(call.path["name"])
    standing = catalog.collection(call.path["name"]).standing()
    return {
        "status": "green" if standing.is_settled else "yellow",
        "optimizer_status": "ok",
        "indexed_vectors_count": standing.info.indexed_vectors_count,
        "points_count": standing.info.points_count,
        "segments_count": standing.info.segments_count,
        "config": schema.described(entry.create),
        "payload_schema": {
            name: _index(index.data_type, index.points, entry.indexes.get(name))
            for name, index in standing.info.payload_schema.items()
        },
    }


def _index(kind: object, points: int, given: Json) -> Body:
    answer: Body = {"data_type": schema.PAYLOAD_TYPE_NAMES[str(kind).rpartition(".")[2]], "points": points}
    if isinstance(given, dict):
        answer["params"] = given
    return answer


def list_aliases(catalog: Catalog, call: Call) -> Json:
    name = call.path.get("name")
    if name is not None:
        catalog.collection(name)
    found = catalog.aliases(name)
    return {"aliases": [{"alias_name": each.alias, "collection_name": each.collection} for each in found]}


_ALIAS_ACTIONS = {
    "create_alias": ("create", "alias_name", "collection_name"),
    "delete_alias": ("delete", "alias_name", "alias_name"),
    "rename_alias": ("rename", "old_alias_name", "new_alias_name"),
}


def change_aliases(catalog: Catalog, call: Call) -> Json:
    body = wire.fields(call.json, "alias update", {"actions"})
    plan = []
    for each in wire.array(wire.required(body, "alias update", "actions"), "actions"):
        action = wire.fields(each, "an alias action", _ALIAS_ACTIONS)
        if len(action) != 1:
            raise malformed(f"an alias action is an object with one of {', '.join(_ALIAS_ACTIONS)}")
        ((name, given),) = action.items()
        kind, *keys = _ALIAS_ACTIONS[name]
        names = wire.fields(given, name, set(keys))
        first, second = (wire.text(wire.required(names, name, key), key) for key in keys)
        plan.append((kind, first, second))
    catalog.change_aliases(plan)
    return True


# --- payload indexes ----------------------------------------------------------------------------------------------


def create_index(catalog: Catalog, call: Call) -> Json:
    body = wire.fields(call.json, "payload index", {"field_name", "field_schema"})
    name = wire.text(wire.required(body, "payload index", "field_name"), "field_name")
    given = wire.required(body, "payload index", "field_schema")
    built = of_engine(lambda: UpdateOperation.create_field_index(name, schema.payload_index(given)))
    number = catalog.collection(call.path["name"]).write([built], size_bytes=len(call.body))
    catalog.note_index(call.path["name"], name, given)
    return _updated(call, number)


def delete_index(catalog: Catalog, call: Call) -> Json:
    field = call.path["field"]
    built = of_engine(lambda: UpdateOperation.delete_field_index(field))
    number = catalog.collection(call.path["name"]).write([built], size_bytes=0)
    catalog.note_index(call.path["name"], field, None)
    return _updated(call, number)


# --- points -------------------------------------------------------------------------------------------------------


def _write(read: Callable[[bytes, Schema], list[UpdateOperation]]) -> Callable[[Catalog, Call], Json]:
    def write(catalog: Catalog, call: Call) -> Json:
        collection = catalog.collection(call.path["name"])
        operations = of_engine(lambda: read(call.body, collection.schema))
        return _updated(call, collection.write(operations, size_bytes=len(call.body)))

    return write


def batch_update(catalog: Catalog, call: Call) -> Json:
    collection = catalog.collection(call.path["name"])
    operations = of_engine(lambda: writes.batch(call.body, collection.schema))
    number = collection.write(operations, size_bytes=len(call.body))
    return [_updated(call, number - before) for before in reversed(range(len(operations)))]


def retrieve(catalog: Catalog, call: Call) -> Json:
    collection = catalog.collection(call.path["name"])
    ids, with_payload, with_vector = queries.retrieve(call.json)
    return [answers.record(each) for each in collection.read(lambda s: s.retrieve(ids, with_payload, with_vector))]


def retrieve_one(catalog: Catalog, call: Call) -> Json:
    text = call.path["id"]
    point_id = int(text) if text.isdecimal() else text
    found = catalog.collection(call.path["name"]).read(lambda s: s.retrieve([point_id], True, True))
    if not found:
        raise Refused(404, f"Not found: Point with id {point_id} does not exists!")
    return answers.record(found[0])


def scroll(catalog: Catalog, call: Call) -> Json:
    request = of_engine(lambda: queries.scroll(call.json))
    found, following = catalog.collection(call.path["name"]).read(lambda s: s.scroll(request))
    return {"points": [answers.record(each) for each in found], "next_page_offset": following}


def count(catalog: Catalog, call: Call) -> Json:
    request = of_engine(lambda: queries.count(call.json))
    return {"count": catalog.collection(call.path["name"]).read(lambda s: s.count(request))}


def query(catalog: Catalog, call: Call) -> Json:
    collection = catalog.collection(call.path["name"])
    request = of_engine(lambda: queries.query(call.json, collection.schema))
    return {"points": [answers.scored(each) for each in collection.read(lambda s: s.query(request))]}


def query_batch(catalog: Catalog, call: Call) -> Json:
    collection = catalog.collection(call.path["name"])
    requests = of_engine(lambda: queries.query_batch(call.json, collection.schema))

    def ask(shard: EdgeShard) -> list[list[ScoredPoint]]:
        return shard.query_batch(QueryBatchRequest(requests)) if requests else []

    return [{"points": [answers.scored(each) for each in found]} for found in collection.read(ask)]


def _updated(call: Call, number: int) -> Body:
    # Every write is applied before it is answered; the word follows what the client asked for.
    waited = call.options.get("wait", "false") == "true"
    return {"operation_id": number, "status": "completed" if waited else "acknowledged"}


READS: Final[Mapping[tuple[str, str], Callable[[Catalog, Call], Json]]] = {
    ("GET", "/telemetry"): telemetry,
    ("GET", "/collections"): list_collections,
    ("GET", "/collections/{name}"): describe_collection,
    ("GET", "/collections/{name}/exists"): collection_exists,
    ("GET", "/collections/{name}/aliases"): list_aliases,
    ("GET", "/aliases"): list_aliases,
    ("POST", "/collections/{name}/points"): retrieve,
    ("GET", "/collections/{name}/points/{id}"): retrieve_one,
    ("POST", "/collections/{name}/points/scroll"): scroll,
    ("POST", "/collections/{name}/points/count"): count,
    ("POST", "/collections/{name}/points/query"): query,
    ("POST", "/collections/{name}/points/query/batch"): query_batch,
}
WRITES: Final[Mapping[tuple[str, str], Callable[[Catalog, Call], Json]]] = {
    ("PUT", "/collections/{name}"): create_collection,
    ("PATCH", "/collections/{name}"): update_collection,
    ("DELETE", "/collections/{name}"): delete_collection,
    ("POST", "/collections/aliases"): change_aliases,
    ("PUT", "/collections/{name}/index"): create_index,
    ("DELETE", "/collections/{name}/index/{field}"): delete_index,
    ("PUT", "/collections/{name}/points"): _write(writes.upsert),
    ("POST", "/collections/{name}/points/delete"): _write(writes.delete),
    ("POST", "/collections/{name}/points/payload"): _write(writes.set_payload),
    ("PUT", "/collections/{name}/points/payload"): _write(writes.overwrite_payload),
    ("POST", "/collections/{name}/points/payload/delete"): _write(writes.delete_payload),
    ("POST", "/collections/{name}/points/payload/clear"): _write(writes.clear_payload),
    ("PUT", "/collections/{name}/points/vectors"): _write(writes.update_vectors),
    ("POST", "/collections/{name}/points/vectors/delete"): _write(writes.delete_vectors),
    ("POST", "/collections/{name}/points/batch"): batch_update,
}
OPTIONS: Final = frozenset({"wait", "ordering", "timeout", "consistency"})
"""Query parameters that any call may carry: one node is always consistent, ordered and has applied what it answers."""
