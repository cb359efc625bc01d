"""The trigger forms: what may be asked of each DAG, in the words of people. Each knows what its conf knows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from airflow.sdk import Param

from concordance.model import Reason
from concordance.operations.correlation import ID_PATTERN


def ingest_form(sources: Iterable[str]) -> dict[str, Param]:
    """The trigger form of an ingest: the declared sources, and what `RunConf` knows."""
    return {
        "source": Param(
            type="string", enum=sorted(sources), title="Source", description_md="One of the declared sources."
        ),
        "subpath": Param(
            "",
            type="string",
            maxLength=4096,
            pattern=r"^(?!/)(?!.*(^|/)\.\.?(/|$)).*$",
            title="Part of the source",
            description_md="A folder or document inside the source, for example `guides/install`; empty: all of it. "
            "A run over a part deletes only inside it.",
        ),
        "mode": Param(
            "incremental",
            type="string",
            enum=["incremental", "full"],
            title="Mode",
            description_md="`incremental` reads what the listing shows as changed; `full` reads everything.",
        ),
        "dry_run": Param(False, type="boolean", title="Dry run", description_md="Plan and report, write nothing."),
        "exact": Param(
            False,
            type="boolean",
            title="Exact",
            description_md="With a dry run: extract and cut everything, so that the numbers are no estimates. A run by "
            "this plan does not do that work again.",
        ),
        "max_documents": _optional(
            "integer",
            minimum=1,
            maximum=100_000_000,
            title="At most this many documents",
            section="Limits",
            description_md="Read at most this many added or changed documents; the next run sees the others.",
        ),
        "approved": Param(
            False,
            type="boolean",
            title="Approved already",
            section="Limits",
            description_md="An unusual plan (many deletions or changes, much to read) waits for a person under "
            "*Required Actions*. Set this after you looked at the plan of a dry run: then nobody is asked.",
        ),
        "only_quarantined": Param(
            False,
            type="boolean",
            title="Only documents in quarantine",
            section="Quarantine",
            description_md="Try again what was rejected, and touch nothing else of the source.",
        ),
        **quarantine_form(),
        "correlation_id": _optional(
            "string",
            pattern=ID_PATTERN,
            title="Correlation id",
            section="Operations",
            description_md="What the lines and calls of this run carry: 16 hexadecimal digits, from whoever triggers "
            "it for something larger; empty: made from the run's name.",
        ),
    }


def quarantine_form() -> dict[str, Param]:
    """Which documents in quarantine are meant."""
    return {
        "reason": _optional(
            "string",
            enum=[None, *(reason.value for reason in Reason)],
            title="Rejected for this reason",
            section="Quarantine",
            description_md="A reason code, as `python -m concordance quarantine list` shows it; empty: any.",
        ),
        "older_than_hours": _optional(
            "number",
            minimum=0,
            maximum=1_000_000,
            title="In quarantine for this many hours or longer",
            section="Quarantine",
        ),
    }


def reindex_form(sources: Iterable[str]) -> dict[str, Param]:
    """The trigger form of a night: what `ReindexConf` knows."""

    def number(title: str, description: str, kind: str = "integer") -> Param:
        return _optional(
            kind,
            minimum=0,
            maximum=10_000,
            title=title,
            section="The new version",
            description_md=f"{description} Empty: as the settings say. Write it into the settings too, or the next "
            "automatic night goes back to them.",
        )

    return {
        "mode": Param(
            "auto",
            type="string",
            enum=["auto", "refresh", "rebuild"],
            title="Mode",
            description_md="`auto` refreshes the sources, and builds a new version if what is frozen with the live one "
            "has changed or the weekly night has come; `refresh` builds none; `rebuild` builds one whatever changed.",
        ),
        "source": _optional(
            "string",
            enum=[None, *sorted(sources)],
            title="Refresh only this source",
            description_md="Empty: every source that is declared with `schedule = true`.",
        ),
        "publish": Param(
            True,
            type="boolean",
            title="Publish",
            description_md="Off: the new version is built and checked, and held for `concordance_index`.",
        ),
        "chunk_min_tokens": number("Least tokens of a chunk", "Shorter ones are joined."),
        "chunk_max_tokens": number("Most tokens of a chunk", "The model's window bounds it."),
        "header_max_tokens": number("Most tokens of a chunk's header", "Title and headings above the text."),
        "bm25_k1": number("BM25 k1", "Saturation of repeated words.", "number"),
        "bm25_b": number("BM25 b", "Weight of a chunk's length, 0 to 1.", "number"),
        "bm25_average_tokens": number("BM25 average length", "Mean terms of a chunk.", "number"),
    }


def version_form() -> dict[str, Param]:
    """The trigger form for one index version: what `VersionConf` knows."""
    return {
        "action": Param(
            type="string",
            enum=["publish", "rollback", "drop"],
            title="Action",
            description_md="`publish` a version that was held, or whose gate failed; `rollback` to one that was live; "
            "`drop` one that is not needed any more.",
        ),
        "version": Param(
            type="integer",
            minimum=1,
            maximum=2**31 - 1,
            title="Index version",
            description_md="As `python -m concordance index list` shows it.",
        ),
        "accepts": Param(
            "",
            type="string",
            maxLength=500,
            title="Publish although it finds worse, because",
            description_md="Only with `publish`: lets a failed relevance gate pass, and is kept with the build.",
        ),
    }


def _optional(kind: str, **described: Any) -> Param:
    """A value of this JSON type that may be left empty."""
    return Param(None, type=["null", kind], **described)
