"""What the parser's process says of a machine that allows little: never more than is in force."""

from __future__ import annotations

import ctypes

import pytest

from concordance.parsing import call_filter, restrictions
from concordance.parsing.restrictions import Restriction


class Refusing:
    """A kernel that knows none of the calls, or whose policy forbids them."""

    def unshare(self, flags: int) -> int:
        return -1

    def prctl(self, *arguments: object) -> int:
        return -1

    def syscall(self, *arguments: object) -> int:
        return -1


class WithNamespaces(Refusing):
    def unshare(self, flags: int) -> int:
        return 0


def kept_on(libc: Refusing, monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: libc)
    return dict(restrictions._confine_linux())


def test_a_kernel_that_refuses_everything_keeps_nothing_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = kept_on(Refusing(), monkeypatch)
    assert kept == dict.fromkeys(("rights", "network", "other programs", "files of the machine"))
    assert [Restriction(name, None) for name in kept] == restrictions._unconfined()


def test_a_namespace_alone_keeps_the_network_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = kept_on(WithNamespaces(), monkeypatch)
    assert kept.pop("network") == "none, by a namespace without a network"
    assert set(kept.values()) == {None}


def test_a_filter_alone_keeps_the_network_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_filter, "install", lambda libc: True)
    kept = kept_on(Refusing(), monkeypatch)
    assert kept["network"] == "none, by a filter that refuses sockets"
    assert kept["other programs"] is not None
    assert kept["files of the machine"] is None
