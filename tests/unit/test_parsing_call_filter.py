"""What the filter of system calls decides, on every architecture whose numbers it knows: its program is run here."""

from __future__ import annotations

import errno
import os

import pytest

from concordance.parsing import call_filter

ALLOWED, KILLED = 0x7FFF0000, 0x80000000
REFUSED, UNKNOWN = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
X86, ARM = 0xC000003E, 0xC00000B7
I386 = 0x40000003
THREAD, FORK = 0x003D0F00, 0x01200011
STREAM, DATAGRAM, CLOSED_ON_EXEC = 1, 2, 0o2000000

# Numbers: read, openat, mmap; socket, execve, ptrace, clone, clone3, socketpair, io_uring_setup.
NUMBERS = {
    "x86_64": (X86, (0, 257, 9), (41, 59, 101, 57, 58, 425), 56, 435, 53),
    "aarch64": (ARM, (63, 56, 222), (198, 221, 117, 425), 220, 435, 199),
}


def decided(machine: str, number: int, *arguments: int, architecture: int | None = None) -> int:
    """Run the program as the kernel does: an accumulator, and jumps forward."""
    calls = call_filter._CALLS[machine]
    words = {0: number, 4: architecture or calls.architecture, 16: 0, 24: 0}
    words.update({16 + 8 * place: value for place, value in enumerate(arguments)})
    program = list(call_filter._filter(calls))
    place = accumulator = 0
    while True:
        code, if_true, if_false, operand = program[place]
        place += 1
        match code:
            case 0x20:
                accumulator = words[operand]
            case 0x54:
                accumulator &= operand
            case 0x15:
                place += if_true if accumulator == operand else if_false
            case 0x35:
                place += if_true if accumulator >= operand else if_false
            case 0x45:
                place += if_true if accumulator & operand else if_false
            case 0x06:
                return operand


@pytest.mark.parametrize("machine", NUMBERS)
def test_what_a_parser_needs_is_allowed_and_what_leads_outside_is_refused(machine: str) -> None:
    architecture, needed, outside, clone, clone3, pair = NUMBERS[machine]
    assert {decided(machine, number) for number in needed} == {ALLOWED}
    assert {decided(machine, number) for number in outside} == {REFUSED}
    assert decided(machine, clone, THREAD) == ALLOWED
    assert decided(machine, clone, FORK) == REFUSED
    assert decided(machine, clone3) == UNKNOWN
    assert decided(machine, pair, 1, STREAM | CLOSED_ON_EXEC) == ALLOWED
    assert decided(machine, pair, 1, DATAGRAM | CLOSED_ON_EXEC) == REFUSED
    assert decided(machine, needed[0], architecture=architecture) == ALLOWED


@pytest.mark.parametrize("machine", NUMBERS)
def test_the_numbers_of_another_architecture_are_no_way_around(machine: str) -> None:
    assert decided(machine, 102, architecture=I386) == KILLED
    assert decided(machine, 0x40000000 | 41) == REFUSED


def test_an_architecture_whose_numbers_are_not_known_has_no_filter_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    found = os.uname()
    unknown = os.uname_result((found.sysname, found.nodename, found.release, found.version, "riscv64"))
    monkeypatch.setattr(os, "uname", lambda: unknown)
    assert not call_filter.install(libc=None)  # type: ignore[arg-type]
