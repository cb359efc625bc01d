"""What a process says of itself: its own processor time, its children's, its peak of memory, its disks."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from concordance.operations import process
from concordance.settings import Settings
from support.waiting import wait_for

BURN = "import time\nwhile time.process_time() < 0.3: pass\n"

PEAKS = """
from concordance.operations.process import peak_bytes
before = peak_bytes()
large = b"1" * 100_000_000
del large
print(before, peak_bytes())
"""

# The first block that is freed raises glibc's own size for such blocks; the small ones keep the heap from shrinking.
HELD = """
import sys, psutil
from concordance.operations.process import give_back_large_blocks
if sys.argv[1] == "given back":
    give_back_large_blocks()
large = b"1" * 31_000_000
del large
held = []
for _ in range(4):
    large = b"1" * 20_000_000
    held.append(b"1" * 100_000)
    del large
    large = b"1" * 21_000_000
    held.append(b"1" * 100_000)
    del large
before = psutil.Process().memory_info().rss
large = b"1" * 20_000_000
held.append(b"1" * 100_000)
whole = psutil.Process().memory_info().rss
del large
print(before, whole, psutil.Process().memory_info().rss)
"""


def burn(seconds: float) -> None:
    began = os.times()
    while os.times().user - began.user < seconds:
        sum(range(10_000))


def in_a_fork(say: Callable[[], float]) -> float:
    """What a forked process says."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writing, str(say()).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        said = float(answer.read())
    os.waitpid(pid, 0)
    return said


def test_processor_time_grows_with_what_is_done() -> None:
    before = process.cpu_seconds()
    burn(0.2)
    assert process.cpu_seconds() - before >= 0.19


def test_a_forked_process_reports_its_own_time_alone() -> None:
    burn(0.5)
    assert process.cpu_seconds() >= 0.5
    assert in_a_fork(process.cpu_seconds) < 0.3


def test_a_child_that_runs_is_counted_and_stays_counted_when_it_has_ended() -> None:
    before = process.cpu_seconds()
    child = subprocess.Popen([sys.executable, "-c", f"{BURN}\ninput()"], stdin=subprocess.PIPE)
    try:
        wait_for(lambda: sum(psutil.Process(child.pid).cpu_times()[:2]) >= 0.28, what="its work")
        assert process.cpu_seconds() - before >= 0.25, "while it runs"
    finally:
        child.communicate(b"\n", timeout=60)
    assert process.cpu_seconds() - before >= 0.25, "once it has ended"


def test_the_peak_of_memory_stays_when_the_memory_is_given_back() -> None:
    asked = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True, timeout=60)
    before, after = map(int, asked.stdout.split())
    assert 5_000_000 < before < after - 90_000_000


def test_free_space_is_told_of_folders_that_are_there_and_on_a_disk(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    here = Settings(state_dir=tmp_path, staging_url=f"file://{tmp_path}/elsewhere")
    assert set(process.free_bytes(here)) == {"staging", "state"}
    assert set(process.free_bytes(Settings(state_dir=tmp_path, staging_url="s3://bucket/staging"))) == {"state"}
    assert process.free_bytes(Settings(state_dir=tmp_path / "not there")) == {}


def test_a_large_block_is_given_back_when_it_is_freed() -> None:
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("another C library decides by itself")

    def left_after_it_was_freed(how: str) -> int:
        command = [sys.executable, "-c", HELD, how]
        ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        _, whole, after = map(int, ran.stdout.split())
        return 20_000_000 - (whole - after)

    assert left_after_it_was_freed("given back") < 1_000_000
    # Else the test would show nothing: so it is without.
    assert left_after_it_was_freed("left alone") > 10_000_000
