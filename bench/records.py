"""What one run of the bench found, as JSON: `bench.json` of the last run, and a line in `bench/history.jsonl` for each
that was recorded.

Several lines with one label are one release: measured in parts, for all rooms together take hours, or more than once,
and then they say how much its figures move from day to day, which the samples of one run do not.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.figures import Figure

ROOT = Path(__file__).resolve().parents[1]
HISTORY = ROOT / "bench" / "history.jsonl"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Machine:
    """What the figures were measured on. Ratios too depend on it: an encoder gains by instructions that a loop has
    no use for."""

    cpu: str
    cores: int


@dataclass(frozen=True, slots=True)
class Room:
    """What one module of the bench found, and how busy the machine was before and after; `error` if it failed."""

    name: str
    figures: tuple[Figure, ...]
    seconds: float
    load: tuple[float, float]
    error: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """One run of the bench. `commit` ends with `+` if the tree held more than it, the history aside."""

    label: str
    commit: str
    date: str
    machine: Machine
    rooms: tuple[Room, ...]
    is_quick: bool = False

    def figures(self) -> dict[str, Figure]:
        """Each figure by its room and name; a part, whose name is indented, by that of the whole before it too."""
        found: dict[str, Figure] = {}
        for room in self.rooms:
            whole = ""
            for figure in room.figures:
                is_part = figure.name.startswith(" ")
                whole = whole if is_part else figure.name
                found[f"{room.name}: {whole}{' / ' + figure.name.strip() if is_part else ''}"] = figure
        return found

    def as_json(self) -> dict[str, Any]:
        return {"format": _FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, stored: Any) -> Record:
        """Raises `ValueError` for what another format wrote, `TypeError` or `KeyError` for what is no record."""
        if not isinstance(stored, dict) or stored.get("format") != _FORMAT:
            raise ValueError(f"this bench reads format {_FORMAT}")
        values = {name: value for name, value in stored.items() if name != "format"}
        return cls(**{**values, "machine": Machine(**values["machine"]), "rooms": tuple(map(_room, values["rooms"]))})


def _room(stored: dict[str, Any]) -> Room:
    figures = (Figure(**{**each, "samples": tuple(each["samples"])}) for each in stored["figures"])
    before, after = stored["load"]
    return Room(**{**stored, "figures": tuple(figures), "load": (before, after)})


def new_record(rooms: Sequence[Room], *, label: str = "", is_quick: bool = False) -> Record:
    """A record of this moment, this tree and this machine; the commit is its label if none is given."""
    commit = _commit()
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return Record(label or commit, commit, date, this_machine(), tuple(rooms), is_quick)


def this_machine() -> Machine:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(next(_cpu_names(), platform.processor() or platform.machine()), cores)


def _cpu_names() -> Iterator[str]:
    told = Path("/proc/cpuinfo")
    for line in told.read_text().splitlines() if told.exists() else []:
        if line.startswith("model name"):
            yield line.partition(":")[2].strip()


def _commit() -> str:
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", f":!{HISTORY.relative_to(ROOT)}")
    commit = _git("describe", "--always", "--tags")
    return commit + ("+" if changed else "") if commit else "unknown"


def _git(*arguments: str) -> str:
    asked = ["git", "-C", str(ROOT), *arguments]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def read_history(path: Path = HISTORY) -> list[Record]:
    """What was recorded, oldest first; nothing where there is no such file.

    Raises `ValueError` with the number of a line that is no record: a history that is read in part would call a
    regression none.
    """
    records = []
    lines = path.read_text().splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            records.append(Record.from_json(json.loads(line)))
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path.name}, line {number} is no record: {error}. Mend or remove the line.") from None
    return records


def append(record: Record, path: Path = HISTORY) -> None:
    """One more line."""
    with path.open("a") as history:
        history.write(json.dumps(record.as_json(), separators=(",", ":")) + "\n")
