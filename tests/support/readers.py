"""Reader processes that search in a steady stream, and what they saw: for tests and benchmarks of the swap.

What they do, and how their answers are judged, is in `reader_process.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from support.waiting import wait_for

_PROGRAM = Path(__file__).with_name("reader_process.py")


@dataclass(frozen=True, slots=True)
class Query:
    """A text, its vector under each model by the model's digest, and the document that must be among the hits."""

    text: str
    uri: str
    vectors: dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Answer:
    """`versions`: those that the hits are of; `wrong` says what must never be."""

    versions: tuple[int, ...]
    hits: int
    wrong: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """An answer and its time: `began` and `ended` in seconds of the machine's monotonic clock."""

    began: float
    ended: float
    answer: Answer


@dataclass(slots=True)
class Reader:
    """One reader's file, and what was read of it."""

    path: Path
    _seen: list[Seen] = field(default_factory=list)
    _read_bytes: int = 0

    def seen(self) -> list[Seen]:
        """All that it wrote until now."""
        with self.path.open("rb") as written:
            written.seek(self._read_bytes)
            whole = written.read().rpartition(b"\n")
        self._read_bytes += len(whole[0]) + len(whole[1])
        self._seen += [_seen(json.loads(line)) for line in whole[0].splitlines()]
        return self._seen


def _seen(line: dict[str, Any]) -> Seen:
    said = line["answer"]
    return Seen(line["began"], line["ended"], Answer(tuple(said["versions"]), said["hits"], tuple(said["wrong"])))


@dataclass(frozen=True, slots=True)
class Readers:
    process: subprocess.Popen[bytes]
    applications: tuple[Reader, ...]
    raw: tuple[Reader, ...]

    @property
    def all(self) -> tuple[Reader, ...]:
        return (*self.applications, *self.raw)

    def await_answers(self, count: int, *, after: float) -> None:
        """Wait until each reader has so many answers that began after this moment. One that has seen something wrong
        ends the waiting."""

        def are_there() -> bool:
            late = [[one for one in reader.seen() if one.began > after] for reader in self.all]
            wrong = [what for seen in late for one in seen for what in one.answer.wrong]
            assert not wrong, wrong
            assert self.process.poll() is None, "a reader died: its error stands above"
            return all(len(seen) >= count for seen in late)

        wait_for(are_there, seconds=60, what=f"{count} answers of each reader")


@contextmanager
def readers(
    settings_file: Path,
    queries: Sequence[Query],
    folder: Path,
    *,
    applications: int,
    raw: int = 0,
    versions: Sequence[int] = (),
    judged: bool = True,
) -> Iterator[Readers]:
    """Readers at work while the block runs; they end with it, and without an error. `versions`: those that raw readers
    may come across. Answers are `judged` by all that is committed; where their time is measured, they are not."""
    folder.mkdir()
    files = {
        "applications": [folder / f"application-{number}.jsonl" for number in range(applications)],
        "raw": [folder / f"raw-{number}.jsonl" for number in range(raw)],
    }
    order = {
        "settings": str(settings_file),
        "queries": [asdict(query) for query in queries],
        "versions": list(versions),
        "judged": judged,
        **{kind: list(map(str, paths)) for kind, paths in files.items()},
    }
    (folder / "order.json").write_text(json.dumps(order))
    for path in (*files["applications"], *files["raw"]):
        path.touch()
    process = subprocess.Popen(
        [sys.executable, str(_PROGRAM), str(folder / "order.json")],
        stdin=subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    started = Readers(process, **{kind: tuple(map(Reader, paths)) for kind, paths in files.items()})
    try:
        yield started
    finally:
        assert process.stdin is not None
        process.stdin.close()
        exit_code = process.wait(timeout=60)
    assert exit_code == 0, "a reader died: its error stands above"
