"""Parts of the gateway that need no server: the journal of a build, and the engine's errors as answers."""

from __future__ import annotations

import pytest

from concordance.local.gateway.collection import Journal
from concordance.local.gateway.limits import MAX_JOURNAL_BYTES
from concordance.local.gateway.refusals import Refused, from_engine, of_engine, wrong_input


def test_a_journal_hands_out_its_operations_once_and_in_order() -> None:
    journal = Journal()
    journal.add(["first", "second"], 10)  # type: ignore[list-item]
    journal.add(["third"], 10)  # type: ignore[list-item]
    assert journal.take() == ["first", "second", "third"]
    assert journal.take() == []
    assert journal.size_bytes == 0


def test_an_overfull_journal_keeps_nothing_and_stays_overfull() -> None:
    journal = Journal()
    journal.add(["first"], MAX_JOURNAL_BYTES)  # type: ignore[list-item]
    assert not journal.is_overfull
    journal.add(["second"], 1)  # type: ignore[list-item]
    journal.add(["third"], 1)  # type: ignore[list-item]
    assert journal.is_overfull
    assert journal.operations == []


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (TypeError("'str' object cannot be cast"), 400),
        (ValueError("failed to parse x as UUID"), 400),
        (OverflowError("can't convert negative int to unsigned"), 400),
        (Exception("Vector dimension error: expected dim: 4, got 2"), 400),
        (Exception("No range index for `order_by` key: `z`"), 400),
        (Exception("No point with id 999"), 404),
        (Exception("Service runtime error: No space left on device (os error 28)"), 507),
        (OSError(28, "No space left on device"), 507),
        (Exception("Service runtime error: anything else"), 500),
    ],
)
def test_the_engines_errors_become_the_servers_answers(error: Exception, status: int) -> None:
    assert from_engine(error).status == status


def test_a_refusal_passes_the_engines_border_as_it_is() -> None:
    refused = wrong_input("anything")

    def call() -> None:
        raise refused

    with pytest.raises(Refused) as raised:
        of_engine(call)
    assert raised.value is refused


def test_a_panic_of_the_engine_is_an_answer_and_an_interrupt_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    class PanicException(BaseException):
        pass

    def panic() -> None:
        raise PanicException("index out of bounds")

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(Refused, match="the engine panicked") as raised:
        of_engine(panic)
    assert raised.value.status == 500
    assert "index out of bounds" in capsys.readouterr().err
    with pytest.raises(KeyboardInterrupt):
        of_engine(interrupt)
