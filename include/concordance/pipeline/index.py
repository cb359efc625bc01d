"""The live index version that a run writes into: made if there is none, followed by both stores, its model checked."""

from __future__ import annotations

import base64
import contextlib
import heapq
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, TypeVar

import structlog

from concordance import fault_points, ids
from concordance.chunking.entities import ENTITIES_REVISION, Gazetteer
from concordance.chunking.splitter import CHUNKER_REVISION
from concordance.embedding.canaries import Canaries
from concordance.errors import Corrupt, Misconfigured, PoisonDocument, Unavailable
from concordance.model import IndexSettings, IndexVersion
from concordance.parsing import PARSER_REVISION
from concordance.parsing.boilerplate import recurring_blocks
from concordance.parsing.parser import Parser
from concordance.pipeline.adapters import Adapters
from concordance.pipeline.ahead import ahead
from concordance.settings import Settings
from concordance.sources.port import Source

log = structlog.get_logger(__name__)

Read = TypeVar("Read")


def ensure_live(adapters: Adapters, settings: Settings) -> IndexVersion:
    """The live version, with both stores prepared for it and pointing at it.

    The first run makes version 1 from the settings as they are now; from then on they are frozen. Raises
    `Misconfigured` when no model here is the version's: mixed vectors are refused before the first write.
    """
    live = adapters.ledger.versions.live()
    if live is None:
        live = _first(adapters, settings)
    require_model(adapters, live)
    pointers = adapters.vectors.pointer(), adapters.graph.pointer()
    if pointers != (live.version, live.version) or adapters.graph.description(live) is None:
        # The ledger's row decides; alias and pointer are repaired to it.
        follow(live, adapters)
    return live


def follow(live: IndexVersion, adapters: Adapters) -> None:
    """Alias and pointer name the live version, for raw readers; not if another one went live meanwhile."""
    prepare(live, adapters)
    with fault_points.around("index.point"), adapters.ledger.repairing.holding_live() as now:
        if now is not None and now.version == live.version:
            adapters.vectors.point_to(live)
            adapters.graph.point_to(live)


def require_model(adapters: Adapters, version: IndexVersion) -> None:
    """Raises `Misconfigured` when no model here is the one that the version was built with."""
    adapters.embedder_of(version)


def require_vectors_of(version: IndexVersion, model: str) -> None:
    """Raises `Misconfigured` when vectors were computed with another model, by its digest, than the version's: what
    compares with nothing else in the version must not be written into it."""
    if model != version.settings.model.digest:
        raise Misconfigured(
            f"The vectors that are to be written into index version {version.version} were not computed with its "
            f"model, {version.settings.model.name}: start a new run"
        )


def moved_on(version: IndexVersion, *, adapters: Adapters, settings: Settings) -> list[str]:
    """Names of what a version made now would have frozen otherwise: settings, the model, revisions of the code. An
    ingest reports and ignores them. What is read from the sources (names, boilerplate) is not looked at."""
    return [name for name, value in _decided(adapters, settings).items() if value != getattr(version.settings, name)]


_FROZEN = ("chunk_min_tokens", "chunk_max_tokens", "header_max_tokens", "bm25_k1", "bm25_b", "bm25_average_tokens")


def _decided(adapters: Adapters, settings: Settings) -> dict[str, Any]:
    """The fields of `IndexSettings` that the settings and the code decide, as they are now."""
    return {
        **{name: getattr(settings, name) for name in _FROZEN},
        "chunker_revision": CHUNKER_REVISION,
        "parser_revision": PARSER_REVISION,
        "entities_revision": ENTITIES_REVISION,
        "model": adapters.embedder.fingerprint,
    }


@dataclass(frozen=True, slots=True)
class Frozen:
    """What a version holds fixed beside its settings: the names to link, digests of blocks that are no content, and the
    canary texts with their vectors (a version that was made before there were any has none)."""

    gazetteer: Gazetteer
    boilerplate: frozenset[str]
    canaries: Canaries | None

    def as_json(self) -> dict[str, Any]:
        # The canaries judge an encoder and decide nothing that is written, so no digest of the settings holds them.
        canaries = {} if self.canaries is None else {"canaries": self.canaries.as_json()}
        return {"gazetteer": self.gazetteer.as_json(), "boilerplate": sorted(self.boilerplate), **canaries}


def frozen_with(version: IndexVersion, adapters: Adapters) -> Frozen:
    """What is frozen with the version, from the ledger."""
    stored = adapters.ledger.versions.frozen(version)
    return Frozen(
        Gazetteer.from_json(stored["gazetteer"]),
        frozenset(stored["boilerplate"]),
        Canaries.from_json(stored.get("canaries")),
    )


def canaries_of(version: IndexVersion, adapters: Adapters) -> Canaries | None:
    """The version's canary texts and vectors, from the ledger."""
    return Canaries.from_json(adapters.ledger.versions.frozen(version).get("canaries"))


def _first(adapters: Adapters, settings: Settings) -> IndexVersion:
    version = adapters.ledger.versions.building()
    if version is None:
        # The graph makes its schema meanwhile: that depends on nothing of what is frozen.
        _, frozen = _at_once(lambda: _prepare_graph(adapters), lambda: freeze(adapters, settings), settings=settings)
        with fault_points.around("index.create"):
            version = adapters.ledger.versions.create(
                index_settings(frozen, adapters, settings), frozen.as_json(), is_first=True
            )
    if version.state == "live":
        return version
    require_model(adapters, version)
    prepare(version, adapters)
    with fault_points.around("index.live"):
        return adapters.ledger.versions.make_first_live(version)


def index_settings(frozen: Frozen, adapters: Adapters, settings: Settings) -> IndexSettings:
    """What a new version is made of now: the settings, the code's revisions, the configured model."""
    return IndexSettings(
        **_decided(adapters, settings),
        gazetteer_digest=frozen.gazetteer.digest,
        boilerplate_digest=ids.digest(sorted(frozen.boilerplate)),
    )


def prepare(version: IndexVersion, adapters: Adapters) -> None:
    """Both stores take rows of the version from here on; the graph keeps what is frozen with it."""
    _prepare_graph(adapters)
    with fault_points.around("index.prepare"):
        adapters.vectors.prepare(version)
        adapters.graph.describe(version, describe(version, adapters.ledger.versions.frozen(version)))


def _prepare_graph(adapters: Adapters) -> None:
    with fault_points.around("index.schema"):
        adapters.graph.prepare()


def describe(version: IndexVersion, frozen: Any) -> str:
    """All that is frozen with a version, as a text that the graph keeps: a lost ledger is rebuilt from it."""
    content = ids.canonical_json({"settings": version.settings.as_json(), "frozen": frozen}).encode()
    return f"{ids.bytes_digest(content)}:{base64.b64encode(zlib.compress(content)).decode()}"


def described(description: str) -> tuple[IndexSettings, Any]:
    """The settings and what is frozen beside them. Raises `Corrupt` when the text is not what its digest says."""
    try:
        digest, _, packed = description.partition(":")
        content = zlib.decompress(base64.b64decode(packed, validate=True))
        if ids.bytes_digest(content) != digest:
            raise ValueError
        stored = json.loads(content)
        return IndexSettings.from_json(stored["settings"]), stored["frozen"]
    except (ValueError, KeyError, TypeError, zlib.error):
        raise Corrupt(
            "The description of the index version in the graph is damaged: nothing can be rebuilt from it"
        ) from None


def freeze(adapters: Adapters, settings: Settings, *, beside: IndexVersion | None = None) -> Frozen:
    """Names and boilerplate as the declared sources have them now, canaries as the configured model has them.

    `beside`: the version that vectors are copied from where it has the same model. Its canaries are taken over then:
    what is encoded from now on must agree with vectors that were encoded long ago.
    """
    kept = None
    if beside is not None and beside.settings.model == adapters.embedder.fingerprint:
        kept = canaries_of(beside, adapters)
    (names, blocks), canaries = _at_once(
        lambda: (gazetteer_of(adapters, settings), boilerplate_of(adapters, settings)),
        lambda: kept or Canaries.of(adapters.embedder),
        settings=settings,
    )
    return Frozen(names, blocks, canaries)


def _at_once(*jobs: Callable[[], Any], settings: Settings) -> list[Any]:
    """What the jobs give, each in a thread of its own; one after the other where nothing is read ahead."""
    count = len(jobs) if settings.read_ahead_documents else 0
    with contextlib.closing(ahead(lambda job: job(), jobs, count=count, threads=len(jobs))) as done:
        return list(done)


def boilerplate_of(adapters: Adapters, settings: Settings) -> frozenset[str]:
    """Digests of blocks that recur so often in the declared sources now that they are no content."""
    blocks = _of_each_source(adapters, lambda source: recurring_blocks(_sample(source, adapters.parser, settings)))
    return frozenset().union(*blocks)


def gazetteer_of(adapters: Adapters, settings: Settings) -> Gazetteer:
    """The names that the declared sources have now."""
    # One more than allowed, so that too many are refused by name and never cut off in silence.
    names = _of_each_source(adapters, lambda source: list(islice(source.names(), settings.max_gazetteer_names + 1)))
    return Gazetteer.build(
        list(chain.from_iterable(names)),
        max_names=settings.max_gazetteer_names,
        max_name_characters=settings.max_name_characters,
    )


def _of_each_source(adapters: Adapters, read: Callable[[Source], Read]) -> Iterator[Read]:
    for source_name in sorted(adapters.declarations):
        try:
            yield read(adapters.source(source_name))
        except (Misconfigured, Unavailable) as error:
            # One source that is not there must not keep the others from their first index.
            log.warning("a source is left out of what is frozen", source=source_name, error=type(error).__name__)


def _sample(source: Source, parser: Parser, settings: Settings) -> Iterator[str]:
    """Markdown of some of the source's documents, chosen by the digest of their uri: spread evenly, and the same ones
    whatever the order of the listing."""
    uris = heapq.nsmallest(
        settings.boilerplate_sample_documents, (listed.uri for listed in source.list()), key=ids.text_digest
    )

    def markdown(uri: str) -> str | None:
        with contextlib.suppress(PoisonDocument):
            return parser.parse(source.read(uri)).markdown
        return None

    reading = ahead(markdown, uris, count=settings.read_ahead_documents, threads=settings.parser_processes)
    with contextlib.closing(reading):
        yield from (text for text in reading if text is not None)
