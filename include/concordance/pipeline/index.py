"""The live index version that a run writes into: made if there is none, followed by both stores, checked for its model."""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING

from concordance.chunking.entities import Gazetteer
from concordance.chunking.splitter import CHUNKER_REVISION
from concordance.errors import Misconfigured
from concordance.model import Entity, IndexSettings, IndexVersion
from concordance.parsing import PARSER_REVISION
from concordance.settings import Settings

if TYPE_CHECKING:
    from concordance.pipeline.adapters import Adapters

ENTITIES_REVISION = 1


def ensure_live(adapters: Adapters, settings: Settings) -> IndexVersion:
    """The live version, with both stores prepared for it and pointing at it.

    The first run makes version 1 from the settings as they are now; from then on they are frozen. Raises
    `Misconfigured` when the embedder is not the version's model: mixed vectors are refused before the first write.
    """
    live = adapters.ledger.versions.live()
    if live is None:
        live = _first(adapters, settings)
    require_model(adapters, live)
    if adapters.vectors.pointer() != live.version or adapters.graph.pointer() != live.version:
        # The ledger's row decides; alias and pointer follow and are repaired to it.
        adapters.graph.prepare()
        adapters.vectors.prepare(live)
        adapters.vectors.point_to(live)
        adapters.graph.point_to(live)
    return live


def require_model(adapters: Adapters, version: IndexVersion) -> None:
    """Raises `Misconfigured` when the configured embedder is not the model that the version was built with."""
    configured, frozen = adapters.embedder.fingerprint, version.settings.model
    if configured != frozen:
        raise Misconfigured(
            f"Index version {version.version} was built with the model {frozen.name} ({frozen.backend}, "
            f"{frozen.precision}, {frozen.dimension} dimensions, files {frozen.files_digest[:12]}), but the configured one "
            f"is {configured.name} ({configured.backend}, {configured.precision}, {configured.dimension} dimensions, "
            f"files {configured.files_digest[:12]}): set AIRFLOW__CONCORDANCE__MODEL_DIR and "
            "AIRFLOW__CONCORDANCE__EMBEDDING_BACKEND back. A new model needs a new index version"
        )


def moved_on(version: IndexVersion, settings: Settings) -> list[str]:
    """Names of the settings that differ from those frozen with the version: an ingest reports and ignores them."""
    return [name for name in _FROZEN if getattr(settings, name) != getattr(version.settings, name)]


_FROZEN = ("chunk_min_tokens", "chunk_max_tokens", "header_max_tokens", "bm25_k1", "bm25_b", "bm25_average_tokens")


def _first(adapters: Adapters, settings: Settings) -> IndexVersion:
    version = adapters.ledger.versions.building()
    if version is None:
        gazetteer = Gazetteer.build(_declared_names(adapters, settings), max_names=settings.max_gazetteer_names)
        version = adapters.ledger.versions.create(
            IndexSettings(
                **{name: getattr(settings, name) for name in _FROZEN},
                chunker_revision=CHUNKER_REVISION,
                parser_revision=PARSER_REVISION,
                entities_revision=ENTITIES_REVISION,
                gazetteer_digest=gazetteer.digest,
                model=adapters.embedder.fingerprint,
            ),
            gazetteer.as_json(),
        )
    require_model(adapters, version)
    adapters.graph.prepare()
    adapters.vectors.prepare(version)
    return adapters.ledger.versions.make_first_live(version)


def _declared_names(adapters: Adapters, settings: Settings) -> list[Entity]:
    names = chain.from_iterable(adapters.source(name).names() for name in sorted(adapters.declarations))
    return list(islice(names, settings.max_gazetteer_names * 4))
