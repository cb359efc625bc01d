"""A world in which index versions are built beside the live one, swapped, taken back and dropped.

Everything is as in `World`: the stages, the ledger and its swaps are the real ones. The gates between the stages are
left out as there, and so is the relevance gate; the parity gate is the real one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock
from uuid import UUID

import fsspec

from concordance.chunking.splitter import Chunker
from concordance.embedding.hashing import HashEmbedder
from concordance.errors import ConcordanceError, PoisonDocument
from concordance.ledger.swapping import Swapped, Swapping
from concordance.model import IndexSettings, IndexVersion, Reason
from concordance.pipeline import extract as extract_module
from concordance.pipeline.embed import embed
from concordance.pipeline.load import load
from concordance.pipeline.publish import publish
from concordance.pipeline.references import PlanReference, ShardReference
from concordance.pipeline.run import FirstStage, Tools
from concordance.reindex import catch_up as catch_up_module
from concordance.reindex import run as run_module
from concordance.reindex.drop import begin_drop, drop_due
from concordance.reindex.references import BuildRequest
from concordance.reindex.swap import rollback
from concordance.settings import Settings
from simulation.world import Killed, World, quick_settings
from support.ledgers import connect

# A version of these settings refuses a text with this word: what was live of it is carried over.
STRICT_TOKENS = 60
BITTER = "nettle"
# Settings by which versions differ: none (documents are copied), what cuts chunks, what decides vectors only.
SETTINGS: Mapping[str, dict[str, float]] = {
    "same": {},
    "strict": {"chunk_max_tokens": STRICT_TOKENS},
    "longer": {"chunk_max_tokens": 80},
    "weights": {"bm25_k1": 1.6},
    "model": {},
}
KEPT_MODELS = "hash=16,hash=24"


def building_settings(settings: Settings) -> Settings:
    """Those of the simulator, with the models that versions were built with, and small pages of a drop."""
    return quick_settings(settings).model_copy(
        update={
            "kept_models": KEPT_MODELS,
            "drop_page_rows": 3,
            "kept_retired_versions": 1,
            "build_shard_bytes": 1500,
            # Runs that a swap overtakes are what is looked for here.
            "swap_patience_seconds": 0.0,
        }
    )


@dataclass(frozen=True)
class _Passed:
    """The relevance gate's answer here: two versions of a handful of documents have nothing to compare."""

    passed: bool = True
    message: str = "not simulated"

    def as_json(self) -> dict[str, Any]:
        return {}


class _StrictChunker(Chunker):
    """A chunker of one kind of version that refuses what others take."""

    def __init__(self, settings: IndexSettings, tokenizer: Any) -> None:
        super().__init__(settings, tokenizer)
        self._is_strict = settings.chunk_max_tokens == STRICT_TOKENS

    def chunks(self, markdown: str, **given: Any) -> Any:
        if self._is_strict and BITTER in markdown:
            raise PoisonDocument("the simulated chunker refuses a text", reason=Reason.PARSER_FAILED)
        return super().chunks(markdown, **given)


@dataclass
class BuildingWorld(World):
    """`World` with builds. `swaps` counts those that changed what is live."""

    build_number: int = 0
    builds_of: dict[int, str] = field(default_factory=dict)
    """The settings of each build, by its number: an attempt again asks for the same."""
    swaps: int = 0
    has_lost_artefacts: bool = False

    @contextmanager
    def turning(self) -> Iterator[World]:
        with (
            super().turning(),
            mock.patch.object(catch_up_module, "walk", _walk),
            mock.patch.object(run_module, "check_relevance", return_value=_Passed()),
            mock.patch.object(extract_module, "Chunker", _StrictChunker),
            mock.patch.object(Swapping, "swap", _watched(self, Swapping.swap)),
        ):
            yield self

    # --- what happens ---------------------------------------------------------------------------------------------

    def build(self, settings: str = "same", *, again: bool = False, publish: bool = True) -> bool:
        """One attempt of a build, new or the last one again; True when it came to its end."""
        if not again or not self.build_number:
            self.build_number += 1
            self.builds_of[self.build_number] = settings
        name, settings = f"build-{self.build_number}", self.builds_of[self.build_number]
        request = BuildRequest(name, mode="rebuild", overrides=SETTINGS[settings], publish=publish)
        self.log.append(f"{name} {settings}{' again' if again else ''}{'' if publish else ', held'}")
        # Another model is configured: the version that is built is of that one, whatever is live of the old one.
        embedder = HashEmbedder(24) if settings == "model" else self.adapters.embedder
        tools: Any = {**self._tools, "adapters": replace(self.adapters, embedder=embedder)}
        return self._attempt(name, lambda: run_module.build(request, **tools))

    def roll_back(self, version: int | None = None) -> bool:
        """Back to the version, or to the one that was live last."""
        retired = [each for each in self.ledger.versions.all() if each.state == "retired"]
        if not retired:
            return False
        chosen = retired[-1] if version is None else self.ledger.versions.get(version)
        self.log.append(f"roll back to version {chosen.version}")
        return self._attempt("roll back", lambda: rollback(chosen, **self._tools))

    def drop(self) -> bool:
        """One attempt to drop a version that is not live, and all whose grace has passed."""
        others = [each for each in self.ledger.versions.all() if each.state not in ("live", "dropped")]
        if not others:
            return False
        chosen = others[self.rng.randrange(len(others))]
        self.log.append(f"drop version {chosen.version}")

        def work() -> None:
            begin_drop(chosen, adapters=self.adapters)
            drop_due(**self._tools)

        return self._attempt("drop", work)

    def drop_due(self) -> bool:
        """All that is to go, whose grace has passed; whether nothing waits any more."""
        return not drop_due(**self._tools).waiting

    def lose_artefacts(self) -> None:
        """Somebody empties the staging area, between two attempts."""
        self.log.append("the staging area is emptied")
        self.has_lost_artefacts = True
        staged = fsspec.filesystem("memory")
        if staged.exists(self._staging):
            staged.rm(self._staging, recursive=True)

    def works(self) -> dict[str, Callable[[], object]]:
        return {
            **super().works(),
            **{f"build {name}": functools.partial(self.build, name) for name in SETTINGS},
            "build again": lambda: self.build(again=True),
            "rollback": self.roll_back,
            "drop": self.drop,
        }

    def _attempt(self, name: str, work: Callable[[], object]) -> bool:
        try:
            work()
        except (Killed, ConcordanceError) as error:
            self.log.append(f"  {name} stopped by {type(error).__name__} {error}")
            return False
        return True

    @property
    def _tools(self) -> Any:
        return {"adapters": self.adapters, "settings": self.settings}

    # --- what must hold -------------------------------------------------------------------------------------------

    def current(self, version: IndexVersion) -> dict[UUID, tuple[str, ...]]:
        """The documents that readers of this version see, with their access labels."""
        with connect(self.settings) as connection:
            rows = connection.execute(
                "SELECT document_id, access FROM generations WHERE index_version = %s AND state = 'current'",
                [version.version],
            )
            return {UUID(str(document_id)): tuple(access) for document_id, access in rows}  # type: ignore[call-overload]

    def check_swap(self, before: dict[UUID, tuple[str, ...]], swapped: Swapped, state: str) -> None:
        """Readers lose nothing by a build, and gain nothing that was hidden from them by a way back."""
        after = self.current(swapped.live)
        if state == "ready":
            assert after.items() <= before.items(), "a swap to a new version brought a document"
            assert len(before) - len(after) <= self.settings.max_lost_documents, "a swap took a document away"
        else:
            assert after.items() <= before.items(), "a way back showed a document that was hidden"


def _watched(world: BuildingWorld, swap: Callable[..., Swapped]) -> Callable[..., Swapped]:
    def watched(swapping: Swapping, version: IndexVersion, **given: Any) -> Swapped:
        state = world.ledger.versions.get(version.version).state
        before = world.current(world.live())
        swapped = swap(swapping, version, **given)
        if not swapped.is_behind and swapped.before is not None:
            world.swaps += 1
            world.log.append(f"  version {swapped.live.version} is live")
            world.check_swap(before, swapped, state)
        return swapped

    return watched


def _walk(plan: PlanReference, tools: Tools, *, first: FirstStage) -> list[ShardReference]:
    """The stages of a build's plan without the gates: what they check has tests of its own, and they cost seconds."""
    shards = [embed(plan, first(plan, shard, **tools), **tools) for shard in range(plan.shards)]
    shards = [load(plan, shard, **tools) for shard in shards]
    publish(plan, **tools)
    return shards
