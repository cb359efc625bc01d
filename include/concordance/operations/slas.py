"""What is late, and when: the limits that `slas_file` declares, validated before anybody compares with them.

Everything wrong in the file is reported at once, with the table, the key and what is allowed there. For each limit the
most specific table that has it decides: one of the source before one of the stage before one of the DAG.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from concordance.errors import Misconfigured
from concordance.settings import Settings

MAX_FILE_BYTES = 1_000_000
MAX_TABLES = 2_000
# Stages that wait in the triggerer: what Airflow calls the state of an attempt changes with each time they come back.
DEFERRED = (("concordance_nightly_reindex", "ingest"), ("concordance_quarantine_replay", "replay"))

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,250}$")]
Seconds = Annotated[float, Field(gt=0, le=31_536_000)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


Table = TypeVar("Table", bound=_Table)


class Sla(_Table):
    """Limits of one DAG, of one of its stages if it names one, for one source if it names one."""

    dag: Name
    stage: Name | None = None
    source: Name | None = None
    attempt_seconds: Seconds | None = None
    done_seconds: Seconds | None = None
    run_seconds: Seconds | None = None

    @model_validator(mode="after")
    def _limits_belong_to_what_is_named(self) -> Self:
        of_a_stage = self.attempt_seconds, self.done_seconds
        if self.stage is None and any(of_a_stage):
            raise ValueError("attempt_seconds and done_seconds are limits of a stage: add the key stage")
        if self.stage is not None and self.run_seconds is not None:
            raise ValueError("run_seconds is a limit of the whole run: leave out the key stage, or use done_seconds")
        if (self.dag, self.stage) in DEFERRED and self.attempt_seconds is not None:
            raise ValueError("attempt_seconds is no limit of a stage that waits for runs of others: use done_seconds")
        if not any((*of_a_stage, self.run_seconds)):
            raise ValueError("it has no limit: add attempt_seconds, done_seconds or run_seconds")
        return self


class Freshness(_Table):
    """How old the newest searchable state of a source may be; of every scheduled source if it names none."""

    source: Name | None = None
    stale_seconds: Seconds


@dataclass(frozen=True, slots=True)
class Slas:
    """All limits. A limit that nobody declared is None, and nothing is late by it."""

    tables: tuple[Sla, ...] = ()
    freshness: tuple[Freshness, ...] = ()

    @property
    def dags(self) -> frozenset[str]:
        return frozenset(table.dag for table in self.tables)

    def done_seconds(self, dag: str, source: str | None) -> dict[str, float]:
        """By stage: how long after the run was queued it is to be done."""
        return _by_stage((table.stage, table.source, table.done_seconds) for table in self._of(dag, source))

    def attempt_seconds(self, dag: str, source: str | None) -> dict[str, float]:
        """By stage: how long one attempt may run."""
        return _by_stage((table.stage, table.source, table.attempt_seconds) for table in self._of(dag, source))

    def run_seconds(self, dag: str, source: str | None) -> float | None:
        """How long after it was queued the run is to be done."""
        return _most_specific((table.source, table.run_seconds) for table in self._of(dag, source))

    def stale_seconds(self, source: str) -> float | None:
        """How old the newest searchable state of a scheduled source may be."""
        return _most_specific(
            (each.source, each.stale_seconds) for each in self.freshness if each.source in (None, source)
        )

    def _of(self, dag: str, source: str | None) -> list[Sla]:
        return [table for table in self.tables if table.dag == dag and table.source in (None, source)]


def _by_stage(limits: Iterable[tuple[str | None, str | None, float | None]]) -> dict[str, float]:
    """From (stage, source, limit): the limit of each stage that has one."""
    found = list(limits)
    decided = {
        stage: _most_specific((source, limit) for of, source, limit in found if of == stage)
        for stage in sorted({stage for stage, _, _ in found if stage is not None})
    }
    return {stage: limit for stage, limit in decided.items() if limit is not None}


def _most_specific(limits: Iterable[tuple[str | None, float | None]]) -> float | None:
    """The limit of a table that names the source, else of one that does not."""
    general = None
    for source, limit in limits:
        if limit is not None:
            if source is not None:
                return limit
            general = limit
    return general


def load_slas(settings: Settings) -> Slas:
    """The limits of `settings.slas_file`. Raises `Misconfigured` naming each wrong table and key."""
    path = settings.slas_file
    document = _document(path)
    unknown = set(document) - {"sla", "freshness"}
    if unknown:
        raise Misconfigured(
            f"{path}: unknown key {sorted(unknown)[0]!r}; allowed at the top of the file: [[sla]] and [[freshness]]"
        )
    problems: list[str] = []
    slas = _parsed(document, "sla", Sla, path, problems)
    freshness = _parsed(document, "freshness", Freshness, path, problems)
    problems += _twice(path, "sla", ((table.dag, table.stage, table.source) for table in slas))
    problems += _twice(path, "freshness", ((table.source,) for table in freshness))
    if problems:
        raise Misconfigured("; ".join(problems))
    return Slas(tuple(slas), tuple(freshness))


def _document(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise Misconfigured(
            f"the file of limits {path} cannot be read ({type(error).__name__}): create it, or name another one in "
            "the setting slas_file"
        ) from None
    if len(content) > MAX_FILE_BYTES:
        raise Misconfigured(f"the file of limits {path} has more than {MAX_FILE_BYTES} bytes: name a file of limits")
    try:
        return tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Misconfigured(f"the file of limits {path} is not valid TOML: {error}") from None


def _parsed(document: Mapping[str, Any], key: str, model: type[Table], path: Path, problems: list[str]) -> list[Table]:
    tables = document.get(key, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        problems.append(f"{path}: key {key}: write each as a [[{key}]] table")
        return []
    if len(tables) > MAX_TABLES:
        problems.append(f"{path}: {len(tables)} [[{key}]] tables; allowed: at most {MAX_TABLES}")
        return []
    found = []
    for position, table in enumerate(tables, start=1):
        try:
            found.append(model.model_validate(table))
        except ValidationError as error:
            named = ", ".join(f"{name} {table[name]!r}"[:80] for name in ("dag", "stage", "source") if name in table)
            where = f"{path}, [[{key}]] number {position}{f' ({named})' if named else ''}"
            problems += [f"{where}: {_sentence(line, model)}" for line in error.errors()]
    return found


def _twice(path: Path, key: str, identities: Iterable[tuple[str | None, ...]]) -> list[str]:
    seen: set[tuple[str | None, ...]] = set()
    problems = []
    for identity in identities:
        if identity in seen:
            named = ", ".join(part for part in identity if part) or "all"
            problems.append(f"{path}: two [[{key}]] tables are about the same ({named}): join them")
        seen.add(identity)
    return problems


def _sentence(line: Any, model: type[BaseModel]) -> str:
    key = ".".join(str(part) for part in line["loc"])
    if line["type"] == "extra_forbidden":
        return f"unknown key {key!r}; allowed: {', '.join(sorted(model.model_fields))}"
    if line["type"] == "missing":
        return f"key {key!r} is missing"
    message = str(line["msg"]).removeprefix("Value error, ")
    return f"key {key}: {message}" if key else message
