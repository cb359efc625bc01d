"""What is late or slow in a run, from what Airflow says of it and the limits that are declared. Pure.

The listener in the task's process, the deadline's callback in the triggerer and the watch outside come here, so that
they name the same thing by the same key and one alert fires of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self
from urllib.parse import quote

from concordance.operations.alerts import AlertKind, Breach
from concordance.operations.slas import Slas
from concordance.sources.declaration import NAME_PATTERN

# States of a task instance that has something before it; None before it is scheduled. A failed one has ended: that the
# run failed is told of by an alert of its own.
UNFINISHED = (
    *(None, "scheduled", "queued", "running", "restarting", "deferred", "awaiting_input"),
    *("up_for_retry", "up_for_reschedule"),
)
# States of an attempt that has begun and holds on: one that waits for a person, or for its next attempt, is not slow.
UNDER_WAY = ("running", "restarting", "deferred")
_MOST_NAMED = 5
# Keys of a conf that say nothing of what is done, what is done where a key is left out, and keys by which an ingest
# does what one of the whole source does not do: any other key asks for less of it, or is one that it refuses.
_NOT_ASKED = ("approved", "correlation_id")
_USUAL = (("mode", "incremental"), ("mode", "auto"), ("publish", True))
_MORE_THAN_WHOLE = {"mode", "only_quarantined", "reason", "older_than_hours"}


@dataclass(frozen=True, slots=True)
class Run:
    """A run as Airflow knows it. `began` is when it was queued last: a run that is cleared begins anew. `asked` is what
    was asked of it, by `asked_of`."""

    dag: str
    run_id: str
    state: str
    source: str | None
    asked: frozenset[tuple[str, str]]
    run_after: datetime
    began: datetime
    ended: datetime | None

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Self:
        """From Airflow's own description of a run, of its REST interface or of a deadline's callback."""
        run_after = datetime.fromisoformat(said["run_after"])
        return cls(
            dag=str(said["dag_id"]),
            run_id=str(said["dag_run_id"]),
            state=str(said["state"]),
            source=source_of(said.get("conf")),
            asked=asked_of(said.get("conf")),
            run_after=run_after,
            began=max(run_after, _time(said.get("queued_at")) or run_after),
            ended=_time(said.get("end_date")),
        )

    @property
    def is_done(self) -> bool:
        return self.state not in ("queued", "running")

    @property
    def subject(self) -> dict[str, str]:
        named = {"dag": self.dag, "run": self.run_id}
        return named if self.source is None else {**named, "source": self.source}


@dataclass(frozen=True, slots=True)
class Instance:
    """One task instance; `map_index` is -1 where the task is not mapped, or not expanded yet."""

    dag: str
    run_id: str
    stage: str
    map_index: int
    state: str | None
    attempt: int
    started: datetime | None

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Self:
        return cls(
            dag=str(said["dag_id"]),
            run_id=str(said["dag_run_id"]),
            stage=str(said["task_id"]),
            map_index=int(said["map_index"]),
            state=said["state"],
            attempt=int(said["try_number"]),
            started=_time(said["start_date"]),
        )


def source_of(conf: Any) -> str | None:
    """The source that a run's conf names. A conf may hold anything: what could be no declared source is none."""
    source = conf.get("source") if isinstance(conf, Mapping) else None
    return source if isinstance(source, str) and re.fullmatch(NAME_PATTERN, source) else None


def asked_of(conf: Any) -> frozenset[tuple[str, str]]:
    """What a run's conf asks for, as (key, JSON): without what is the same if it is left out, and without who approved
    it and what its lines carry."""
    given = conf if isinstance(conf, Mapping) else {}
    return frozenset(
        (str(key), json.dumps(value, sort_keys=True))
        for key, value in given.items()
        if key not in _NOT_ASKED and value not in (None, "", False) and (key, value) not in _USUAL
    )


def makes_good(later: Run, failed: Run) -> bool:
    """Whether a later run that succeeded did what the failed one was asked for: the same, or of an ingest the whole
    where that one was asked for a part, or a rehearsal, of it."""
    if later.dag != failed.dag or later.run_after <= failed.run_after:
        return False
    more = {key for key, _ in failed.asked - later.asked}
    is_part = failed.dag == "concordance_ingest" and later.asked <= failed.asked and not more & _MORE_THAN_WHOLE
    return is_part or later.asked == failed.asked


def late_run(run: Run, slas: Slas, *, now: datetime, page_url: str) -> Breach | None:
    """Whether the run is late now; a run that is done is not."""
    limit = slas.run_seconds(run.dag, run.source)
    if limit is None or run.is_done or now < run.began + timedelta(seconds=limit):
        return None
    return Breach(
        AlertKind.RUN_LATE,
        run.subject,
        expected=f"done {limit:g} s after it was queued",
        actual=f"{run.state} for {_seconds(now - run.began)} s",
        since=run.began + timedelta(seconds=limit),
        link=link(page_url, run.dag, run.run_id),
    )


def late_stages(
    run: Run, unfinished: Sequence[Instance], slas: Slas, *, now: datetime, page_url: str
) -> Iterable[Breach]:
    """The stages of the run that are not done in time. `unfinished` are its task instances that have not ended: what
    was not started, waits in a queue or hangs is not done; what was skipped, removed or has failed is over."""
    if run.is_done:
        return
    for stage, limit in slas.done_seconds(run.dag, run.source).items():
        left = [instance for instance in unfinished if instance.stage == stage]
        if left and now >= run.began + timedelta(seconds=limit):
            yield Breach(
                AlertKind.STAGE_LATE,
                {**run.subject, "stage": stage},
                expected=f"done {limit:g} s after the run was queued",
                actual=f"not done after {_seconds(now - run.began)} s: {_named(left)}",
                since=run.began + timedelta(seconds=limit),
                link=link(page_url, run.dag, run.run_id, stage=stage),
            )


def slow_attempts(
    run: Run, unfinished: Sequence[Instance], slas: Slas, *, now: datetime, page_url: str
) -> Iterable[Breach]:
    """The attempts that run longer than they may."""
    limits = slas.attempt_seconds(run.dag, run.source)
    for instance in unfinished:
        limit = limits.get(instance.stage)
        if limit is None or instance.state not in UNDER_WAY or instance.started is None:
            continue
        if now >= instance.started + timedelta(seconds=limit):
            yield slow_attempt(instance, run.source, limit, now=now, page_url=page_url)


def slow_attempt(instance: Instance, source: str | None, limit: float, *, now: datetime, page_url: str) -> Breach:
    """The breach of an attempt that has begun and runs for longer than `limit` seconds."""
    started = instance.started or now
    subject = {
        "dag": instance.dag,
        "run": instance.run_id,
        "stage": instance.stage,
        "attempt": str(instance.attempt),
        **({"shard": str(instance.map_index)} if instance.map_index >= 0 else {}),
        **({"source": source} if source else {}),
    }
    return Breach(
        AlertKind.ATTEMPT_SLOW,
        subject,
        expected=f"at most {limit:g} s for one attempt",
        actual=f"running for {_seconds(now - started)} s",
        since=started + timedelta(seconds=limit),
        link=link(page_url, instance.dag, instance.run_id, stage=instance.stage, shard=instance.map_index),
    )


def failed_run(run: Run, failed: Sequence[Instance], *, page_url: str) -> Breach:
    """The breach of a run that failed, with the stages that did."""
    ended = run.ended or run.began
    what = f": {_named(failed)}" if failed else ""
    return Breach(
        AlertKind.RUN_FAILED,
        run.subject,
        expected="a run that succeeds",
        actual=f"failed after {_seconds(ended - run.began)} s{what}",
        since=ended,
        link=link(page_url, run.dag, run.run_id),
    )


def link(page_url: str, dag: str, run_id: str, *, stage: str = "", shard: int = -1) -> str:
    """The page in Airflow."""
    path = f"{page_url.rstrip('/')}/dags/{quote(dag)}/runs/{quote(run_id, safe='')}"
    if not stage:
        return path
    return f"{path}/tasks/{quote(stage)}{f'/mapped/{shard}' if shard >= 0 else ''}"


def _named(instances: Sequence[Instance]) -> str:
    named = [
        f"{each.stage}{f' shard {each.map_index}' if each.map_index >= 0 else ''} {each.state or 'not started'}"
        for each in instances[:_MOST_NAMED]
    ]
    more = len(instances) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")


def _seconds(span: timedelta) -> int:
    return round(span.total_seconds())


def _time(said: str | None) -> datetime | None:
    return None if said is None else datetime.fromisoformat(said)
