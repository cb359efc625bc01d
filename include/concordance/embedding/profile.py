"""How a prepared model runs best on one machine: streams and tokens of a batch, measured once and kept beside it.

A profile is known by the machine (its processor, the cores that this process may use) and by OpenVINO's version; one
that is torn or of another machine is as good as none. It moves no vector: each is the same whatever a batch holds.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from concordance import ids

_BATCH_TOKENS = (1024, 4096)
_PROBED_LENGTH = 128  # tokens: about a chunk
_LEAST_ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Profile:
    """`streams` encode one batch each at a time, of at most `batch_tokens`."""

    streams: int
    batch_tokens: int


class Encoder(Protocol):
    @property
    def streams(self) -> int: ...
    def encode(self, tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]: ...


def usual() -> Profile:
    """What is taken where nothing was measured."""
    return Profile(streams=min(_cores(), 4), batch_tokens=_BATCH_TOKENS[-1])


def read_profile(folder: Path) -> Profile | None:
    """This machine's, None when there is none that can be used."""
    try:
        found = json.loads(_path(folder).read_text())
        profile = Profile(**found)
    except (OSError, ValueError, TypeError):
        return None
    is_sane = all(type(value) is int and value > 0 for value in (profile.streams, profile.batch_tokens))
    return profile if is_sane and profile.streams <= _cores() else None


def probed(compiled: Callable[[int], Encoder], *, folder: Path, window_tokens: int, seconds: float) -> Profile:
    """The fastest of a few, kept for the next process. None is begun after `seconds`; the usual one is the first."""
    first, ends = usual(), time.monotonic() + seconds
    if seconds <= 0:
        return first
    rates: dict[Profile, float] = {}
    encoder: Encoder | None = None
    for profile in dict.fromkeys((first, *_candidates())):
        if rates and time.monotonic() >= ends:
            break
        if encoder is None or encoder.streams != profile.streams:
            encoder = compiled(profile.streams)
        rates[profile] = _tokens_per_second(encoder, profile, length=min(_PROBED_LENGTH, window_tokens))
    best = max(rates, key=rates.__getitem__)
    _keep(best, folder)
    return best


def _candidates() -> Iterator[Profile]:
    cores = _cores()
    for streams in sorted({cores, max(cores // 2, 1), 1}, reverse=True):
        for tokens in reversed(_BATCH_TOKENS):
            yield Profile(streams, tokens)


def _tokens_per_second(encoder: Encoder, profile: Profile, *, length: int) -> float:
    batch = np.ones((max(profile.batch_tokens // length, 1), length), dtype=np.int64)
    rounds = _LEAST_ROUNDS * profile.streams * max(_BATCH_TOKENS[-1] // profile.batch_tokens, 1)
    with ThreadPoolExecutor(profile.streams) as threads:
        list(threads.map(encoder.encode, [batch] * profile.streams))  # the first of a shape is compiled
        started = time.perf_counter()
        list(threads.map(encoder.encode, [batch] * rounds))
        return batch.size * rounds / (time.perf_counter() - started)


def _keep(profile: Profile, folder: Path) -> None:
    path = _path(folder)
    written = path.with_name(f"{path.name}.{uuid4().hex}")
    # A folder that may only be read is no fault: the next process measures again.
    with contextlib.suppress(OSError):
        written.write_text(json.dumps(asdict(profile)))
        written.replace(path)


def _path(folder: Path) -> Path:
    return folder / f"profile-{_machine()[:16]}.json"


def _machine() -> str:
    return ids.digest([_processor(), _cores(), metadata.version("openvino")])


def _processor() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith(("model name", "CPU part")):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
