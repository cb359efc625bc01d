"""The PostgreSQL driver's errors in our words.

The server's messages may quote values of rows, so ours name its SQLSTATE and nothing of its text. Every class of
SQLSTATE stands in `BY_STATE` and every exception class that carries none in `BY_CLASS`; a test enumerates both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg

from concordance.errors import ConcordanceError, Misconfigured, Terminal, Unavailable
from concordance.resilience import LostRace
from concordance.settings import ENVIRONMENT_PREFIX
from concordance.translation import by_class

Rule = Callable[[str, str], ConcordanceError]


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn the driver's errors into ours; the server's message is dropped where it could hold values of rows."""
    try:
        yield
    except ConcordanceError:
        raise
    except (psycopg.Error, psycopg.Warning, psycopg.Rollback) as error:
        raise translate(error, what) from None


def translate(error: BaseException, what: str) -> ConcordanceError:
    """Our error for one of psycopg's: by its SQLSTATE if the server sent one, else by its class."""
    state = getattr(error, "sqlstate", None)
    name = type(error).__name__
    if state is not None:
        rule = BY_STATE.get(state) or BY_STATE.get(state[:2], _refused)
        return rule(what, f"SQLSTATE {state}")
    # A server that refuses a login before the protocol knows SQLSTATEs.
    if "password authentication failed" in str(error):
        return BY_STATE["28P01"](what, name)
    return by_class(error, BY_CLASS, otherwise=_misused)(what, name)


def _unreachable(what: str, code: str) -> ConcordanceError:
    return Unavailable(
        f"The ledger does not answer ({what}, {code}): is PostgreSQL up? `python -m concordance status` says so for "
        "the local stack"
    )


def _passing(what: str, code: str) -> ConcordanceError:
    return Unavailable(f"The ledger rolled back ({what}, {code}): try again")


def _too_slow(what: str, code: str) -> ConcordanceError:
    return Unavailable(
        f"The ledger took too long ({what}, {code}) and rolled back. If this happens often, raise "
        f"{ENVIRONMENT_PREFIX}LEDGER_TIMEOUT_SECONDS (for a whole run {ENVIRONMENT_PREFIX}LEDGER_BULK_TIMEOUT_SECONDS, "
        f"for a whole index {ENVIRONMENT_PREFIX}CALL_TIMEOUT_SECONDS)"
    )


def _lost_race(what: str, code: str) -> ConcordanceError:
    return LostRace(f"Another transaction was first ({what}, {code}); nothing of this one was applied")


def _refused(what: str, code: str) -> ConcordanceError:
    return Terminal(f"The ledger refused a statement ({what}, {code})")


def _misused(what: str, code: str) -> ConcordanceError:
    return Terminal(f"The ledger's driver refused a statement ({what}, {code}): this is a defect, report it")


def _misconfigured(advice: str) -> Rule:
    def rule(what: str, code: str) -> ConcordanceError:
        return Misconfigured(f"PostgreSQL {advice} ({what})")

    return rule


# By SQLSTATE, or by its first two characters, which are its class.
BY_STATE: dict[str, Rule] = {
    "28000": _misconfigured("refuses this user"),
    "28P01": _misconfigured(
        f"refuses the password: check {ENVIRONMENT_PREFIX}LEDGER_PASSWORD or the connection concordance_ledger"
    ),
    "3D000": _misconfigured(f"has no such database: create it, or correct {ENVIRONMENT_PREFIX}LEDGER_URL"),
    "42501": _misconfigured("denies a privilege that the ledger's role needs"),
    "3F000": _misconfigured("has no ledger schema: run `python -m concordance up`, or `make setup` for a deployment"),
    "42P01": _misconfigured(
        "has no ledger tables: run `python -m concordance up`, or the init service of the deployment"
    ),
    # Serialisation, deadlock, a lock that another transaction holds.
    "40001": _lost_race,
    "40P01": _lost_race,
    "55P03": _lost_race,
    "57014": _too_slow,
    # Transactions that stood idle for too long.
    "25P03": _passing,
    "25P04": _passing,
    # The server could not now: rolled back, no resources, an operator, the system.
    "40": _passing,
    "53": _passing,
    "57": _passing,
    "58": _passing,
    "08": _unreachable,
    # What a statement, a value or the schema is refused for comes again.
    **dict.fromkeys(
        ("02", "03", "09", "0A", "0B", "0F", "0L", "0P", "0Z", "10", "20", "21", "22", "23", "24", "25", "26", "27"),
        _refused,
    ),
    **dict.fromkeys(
        ("28", "2B", "2D", "2F", "34", "38", "39", "3B", "3D", "3F", "42", "44", "54", "55", "72", "F0", "HV", "P0"),
        _refused,
    ),
    "XX": _refused,
}

# By the class of an exception without SQLSTATE, or of its nearest base that stands here: no server spoke.
BY_CLASS: dict[type[BaseException], Rule] = {
    psycopg.Error: _misused,
    psycopg.InterfaceError: _misused,
    psycopg.DatabaseError: _unreachable,
    psycopg.OperationalError: _unreachable,
    psycopg.InternalError: _unreachable,
    psycopg.DataError: _misused,
    psycopg.IntegrityError: _misused,
    psycopg.ProgrammingError: _misused,
    psycopg.NotSupportedError: _misused,
    psycopg.errors.ConnectionTimeout: _unreachable,
    psycopg.errors.CancellationTimeout: _unreachable,
    psycopg.errors._WaitTimeout: _unreachable,
    psycopg.errors.PipelineAborted: _misused,
    psycopg.transaction.OutOfOrderTransactionNesting: _misused,
    psycopg.Rollback: _misused,
    psycopg.Warning: _misused,
}
