"""The graph driver's errors in our words.

The server's messages may quote property values, so ours name its status code and nothing of its text. Every exception
class of the driver stands in `BY_CLASS`; a test enumerates them, so that a new one is decided here, not met in
production.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from neo4j import _exceptions as internal
from neo4j import exceptions as driver

from concordance.errors import (
    BatchTooLarge,
    ConcordanceError,
    Misconfigured,
    OutcomeUnknown,
    PoisonDocument,
    Terminal,
    Unavailable,
)
from concordance.model import Reason
from concordance.resilience import LostRace
from concordance.translation import by_class


@dataclass(frozen=True, slots=True)
class Call:
    """What was going on when the driver raised. `committing`: the commit was sent and not yet answered."""

    what: str
    url: str
    user: str
    database: str | None
    committing: bool = False


def _unreachable(call: Call, code: str) -> ConcordanceError:
    if call.committing:
        return OutcomeUnknown(f"{call.what}: the connection to {call.url} ended during the commit ({code})")
    return Unavailable(f"{call.what}: the graph at {call.url} does not answer ({code}). Is it running?")


def _unavailable(call: Call, code: str) -> ConcordanceError:
    return Unavailable(f"{call.what}: the graph at {call.url} could not do it now ({code})")


def _failed(call: Call, code: str) -> ConcordanceError:
    if call.committing:
        return OutcomeUnknown(f"{call.what}: the graph at {call.url} failed during the commit ({code})")
    return _unavailable(call, code)


def _outcome_unknown(call: Call, code: str) -> ConcordanceError:
    return OutcomeUnknown(f"{call.what}: the connection to {call.url} ended during the commit ({code})")


def _lost_race(call: Call, code: str) -> ConcordanceError:
    return LostRace(f"{call.what}: another transaction was first ({code}); nothing of this one was applied")


def _too_large(call: Call, code: str) -> ConcordanceError:
    return BatchTooLarge(
        f"{call.what}: the transaction needs more memory than the graph gives it ({code}): "
        "send fewer rows (setting batch_chunks), or give the server more"
    )


def _refused_login(call: Call, code: str) -> ConcordanceError:
    return Misconfigured(
        f"the graph at {call.url} refuses the user {call.user!r} ({code}): check the settings neo4j_user and "
        "neo4j_password"
    )


def _locked_login(call: Call, code: str) -> ConcordanceError:
    return Misconfigured(
        f"the graph at {call.url} has locked the user {call.user!r} after too many wrong passwords ({code}): correct "
        "the setting neo4j_password, wait a few seconds, and try again"
    )


def _forbidden(call: Call, code: str) -> ConcordanceError:
    return Misconfigured(
        f"{call.what}: the graph at {call.url} forbids this to the user {call.user!r} ({code}): give it the right to "
        "read, write and create constraints"
    )


def _no_database(call: Call, code: str) -> ConcordanceError:
    return Misconfigured(
        f"the graph at {call.url} has no database {call.database or '(home)'!r} ({code}): "
        "check the setting neo4j_database"
    )


def _misconfigured(call: Call, code: str) -> ConcordanceError:
    return Misconfigured(f"the graph at {call.url} cannot be used as configured ({code}): check the setting neo4j_url")


def _other_server(call: Call, code: str) -> ConcordanceError:
    return Misconfigured(
        f"{call.what}: the server at {call.url} does not take our query ({code}): Neo4j 5.26 or a newer 5.x is needed"
    )


def _refused_row(call: Call, code: str) -> ConcordanceError:
    return PoisonDocument(f"{call.what}: the graph refuses one of the rows ({code})", reason=Reason.STORE_REFUSED)


def _misused(call: Call, code: str) -> ConcordanceError:
    return Terminal(f"{call.what}: the graph adapter used its driver wrongly ({code}): this is a defect, report it")


Rule = Callable[[Call, str], ConcordanceError]

# By the class of the exception, or of its nearest base that stands here.
BY_CLASS: dict[type[BaseException], Rule] = {
    driver.GqlError: _failed,
    driver.Neo4jError: _failed,
    driver.ClientError: _refused_row,
    driver.CypherSyntaxError: _other_server,
    driver.CypherTypeError: _refused_row,
    # Two transactions made the same key at once (servers without locks report it so).
    driver.ConstraintError: _lost_race,
    driver.AuthError: _refused_login,
    driver.TokenExpired: _refused_login,
    driver.Forbidden: _forbidden,
    driver.DatabaseError: _failed,
    driver.TransientError: _unavailable,
    driver.DatabaseUnavailable: _unavailable,
    driver.NotALeader: _unavailable,
    driver.ForbiddenOnReadOnlyDatabase: _unavailable,
    driver.DriverError: _unreachable,
    driver.SessionError: _misused,
    driver.TransactionError: _failed,
    driver.TransactionNestingError: _misused,
    driver.ResultError: _misused,
    driver.ResultFailedError: _failed,
    driver.ResultConsumedError: _misused,
    driver.ResultNotSingleError: _misused,
    driver.BrokenRecordError: _unavailable,
    driver.SessionExpired: _unreachable,
    driver.ServiceUnavailable: _unreachable,
    driver.RoutingServiceUnavailable: _unreachable,
    driver.WriteServiceUnavailable: _unreachable,
    driver.ReadServiceUnavailable: _unreachable,
    driver.IncompleteCommit: _outcome_unknown,
    driver.ConfigurationError: _misconfigured,
    driver.AuthConfigurationError: _misconfigured,
    driver.CertificateConfigurationError: _misconfigured,
    driver.UnsupportedServerProduct: _misconfigured,
    driver.ConnectionPoolError: _unreachable,
    driver.ConnectionAcquisitionTimeoutError: _unreachable,
    internal.BoltError: _unreachable,
    internal.BoltConnectionError: _unreachable,
    internal.BoltHandshakeError: _misconfigured,
    internal.BoltProtocolError: _unreachable,
    internal.BoltSecurityError: _misconfigured,
    internal.QueryApiHttpError: _misconfigured,
    internal.SocketDeadlineExceededError: _unreachable,
    OSError: _unreachable,
    # The driver's packer refuses a value: not a valid string, an integer beyond 64 bits, a type it does not know.
    ValueError: _refused_row,
    TypeError: _refused_row,
    OverflowError: _refused_row,
}

# By the server's status code, before the class is asked.
BY_CODE: dict[str, Rule] = {
    "Neo.TransientError.General.MemoryPoolOutOfMemoryError": _too_large,
    "Neo.TransientError.General.TransactionOutOfMemoryError": _too_large,
    "Neo.TransientError.General.OutOfMemoryError": _too_large,
    "Neo.TransientError.Transaction.DeadlockDetected": _lost_race,
    "Neo.TransientError.Transaction.ConcurrentModification": _lost_race,
    "Neo.TransientError.Transaction.Outdated": _lost_race,
    "Neo.TransientError.Transaction.LockClientStopped": _lost_race,
    "Neo.TransientError.Transaction.LockAcquisitionTimeout": _lost_race,
    "Neo.ClientError.Transaction.LockClientStopped": _lost_race,
    # A node that was found was deleted before it was locked.
    "Neo.ClientError.Statement.EntityNotFound": _lost_race,
    "Neo.DatabaseError.Transaction.TransactionCommitFailed": _outcome_unknown,
    "Neo.ClientError.Transaction.TransactionTimedOut": _unavailable,
    "Neo.ClientError.Transaction.TransactionTimedOutClientConfiguration": _unavailable,
    "Neo.ClientError.Transaction.TransactionTerminated": _unavailable,
    "Neo.TransientError.Transaction.Terminated": _unavailable,
    "Neo.ClientError.Transaction.TransactionNotFound": _unavailable,
    "Neo.ClientError.Database.DatabaseNotFound": _no_database,
    "Neo.ClientError.Security.AuthenticationRateLimit": _locked_login,
    "Neo.ClientError.Security.CredentialsExpired": _refused_login,
    "Neo.ClientError.Security.Unauthorized": _refused_login,
    "Neo.ClientError.Security.Forbidden": _forbidden,
    "Neo.ClientError.Procedure.ProcedureNotFound": _other_server,
    "Neo.ClientError.Statement.SyntaxError": _other_server,
}


def translate(error: BaseException, call: Call) -> ConcordanceError:
    """Our error for one of the driver's (or of the packer's). An error that stands nowhere is returned as a defect."""
    code = str(getattr(error, "code", None) or type(error).__name__)
    rule = BY_CODE.get(code)
    if rule is not None:
        return rule(call, code)
    return by_class(error, BY_CLASS, otherwise=_misused)(call, code)
