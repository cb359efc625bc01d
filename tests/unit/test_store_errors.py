"""Every error of the stores' drivers is one of ours, and carries nothing of what was sent."""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
import warnings
from collections.abc import Iterator

import httpx
import psycopg
import pytest
from neo4j import exceptions as driver
from qdrant_client.http import exceptions as rest

from concordance.errors import (
    BatchTooLarge,
    ConcordanceError,
    Misconfigured,
    OutcomeUnknown,
    PoisonDocument,
    Terminal,
    Unavailable,
)
from concordance.ledger import translate_postgres
from concordance.resilience import LostRace
from concordance.stores import translate_neo4j, translate_qdrant

TEXT = "text of a document"


def exception_classes(package: str) -> set[type[BaseException]]:
    """Every exception class (warnings apart) that a module of this package defines, all its modules imported.

    What needs a package that is not installed here (HTTP for the graph, geometry types) cannot be raised either.
    """

    def below(base: type[BaseException]) -> Iterator[type[BaseException]]:
        for each in base.__subclasses__():
            yield each
            yield from below(each)

    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        with contextlib.suppress(ImportError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(module.name)
    return {
        each
        for each in below(BaseException)
        if each.__module__.partition(".")[0] == package and not issubclass(each, Warning)
    }


def graph_call(*, committing: bool = False) -> translate_neo4j.Call:
    return translate_neo4j.Call("writing 3 chunks", "bolt://127.0.0.1:1", "writer", "graph", committing)


def vector_call(kind: translate_qdrant.Kind) -> translate_qdrant.Call:
    return translate_qdrant.Call("writing 3 points", "http://127.0.0.1:1", "concordance_v000001", kind)


class TestGraphErrors:
    def test_every_exception_class_of_the_driver_is_mapped(self) -> None:
        # The driver's check on itself (one object used by two threads), on only in its debug mode.
        debug = {each for each in exception_classes("neo4j") if each.__name__ == "NonConcurrentMethodError"}
        unmapped = exception_classes("neo4j") - translate_neo4j.BY_CLASS.keys() - debug
        assert not unmapped, f"decide in translate_neo4j.py what these mean: {sorted(map(str, unmapped))}"

    def test_each_class_gives_one_of_our_errors_without_its_text(self) -> None:
        for kind in exception_classes("neo4j") | {ValueError, TypeError, OSError, ZeroDivisionError}:
            error = kind.__new__(kind)
            error.args = (TEXT,)
            for committing in (False, True):
                ours = translate_neo4j.translate(error, graph_call(committing=committing))
                assert isinstance(ours, ConcordanceError)
                assert TEXT not in str(ours)

    @pytest.mark.parametrize(
        ("code", "expected"),
        [
            ("Neo.TransientError.General.MemoryPoolOutOfMemoryError", BatchTooLarge),
            ("Neo.TransientError.Transaction.DeadlockDetected", LostRace),
            ("Neo.ClientError.Statement.EntityNotFound", LostRace),
            ("Neo.ClientError.Schema.ConstraintValidationFailed", LostRace),
            ("Neo.ClientError.Transaction.TransactionTimedOutClientConfiguration", Unavailable),
            ("Neo.TransientError.Database.DatabaseUnavailable", Unavailable),
            ("Neo.DatabaseError.General.UnknownError", Unavailable),
            ("Neo.ClientError.Security.Unauthorized", Misconfigured),
            ("Neo.ClientError.Security.AuthenticationRateLimit", Misconfigured),
            ("Neo.ClientError.Security.Forbidden", Misconfigured),
            ("Neo.ClientError.Database.DatabaseNotFound", Misconfigured),
            ("Neo.ClientError.Statement.SyntaxError", Misconfigured),
            ("Neo.ClientError.Statement.TypeError", PoisonDocument),
            ("Neo.ClientError.Statement.ArgumentError", PoisonDocument),
        ],
    )
    def test_a_server_s_status_decides(self, code: str, expected: type[ConcordanceError]) -> None:
        error = driver.Neo4jError._hydrate_neo4j(code=code, message=TEXT)
        ours = translate_neo4j.translate(error, graph_call())
        assert type(ours) is expected
        assert code in str(ours)
        assert TEXT not in str(ours)

    def test_a_connection_that_ends_during_the_commit_leaves_the_outcome_open(self) -> None:
        lost = driver.ServiceUnavailable("gone")
        assert type(translate_neo4j.translate(lost, graph_call())) is Unavailable
        assert type(translate_neo4j.translate(lost, graph_call(committing=True))) is OutcomeUnknown
        assert type(translate_neo4j.translate(driver.IncompleteCommit("gone"), graph_call())) is OutcomeUnknown

    def test_a_refused_password_names_the_settings(self) -> None:
        ours = translate_neo4j.translate(driver.AuthError("no"), graph_call())
        assert "neo4j_user" in str(ours)
        assert "neo4j_password" in str(ours)
        assert "writer" in str(ours)


class TestVectorErrors:
    def test_every_exception_class_of_the_client_and_its_transport_is_mapped(self) -> None:
        found = exception_classes("qdrant_client") | exception_classes("httpx")
        unmapped = found - translate_qdrant.BY_CLASS.keys()
        assert not unmapped, f"decide in translate_qdrant.py what these mean: {sorted(map(str, unmapped))}"

    def test_each_class_gives_one_of_our_errors_without_its_text(self) -> None:
        plain = exception_classes("httpx") | {ValueError, TypeError, OSError, ZeroDivisionError}
        for kind in plain:
            source = kind.__new__(kind)
            source.args = (TEXT,)
            for error in (source, rest.ResponseHandlingException(source)):
                for doing in translate_qdrant.Kind:
                    ours = translate_qdrant.translate(error, vector_call(doing))
                    assert isinstance(ours, ConcordanceError)
                    assert TEXT not in str(ours)

    @pytest.mark.parametrize(
        ("status", "expected"),
        [
            (400, PoisonDocument),
            (401, Misconfigured),
            (403, Misconfigured),
            (404, Misconfigured),
            (408, OutcomeUnknown),
            (413, BatchTooLarge),
            (422, PoisonDocument),
            (429, Unavailable),
            (500, OutcomeUnknown),
            (501, Misconfigured),
            (503, OutcomeUnknown),
            (507, Unavailable),
            (302, Misconfigured),
        ],
    )
    def test_the_status_of_a_refused_write_decides(self, status: int, expected: type[ConcordanceError]) -> None:
        error = rest.UnexpectedResponse(status, "reason", TEXT.encode(), httpx.Headers())
        ours = translate_qdrant.translate(error, vector_call(translate_qdrant.Kind.WRITE))
        assert type(ours) is expected
        assert str(status) in str(ours)
        assert TEXT not in str(ours)

    def test_a_read_that_was_cut_off_is_unavailable_and_a_write_has_an_open_outcome(self) -> None:
        error = rest.ResponseHandlingException(httpx.ReadTimeout("too long"))
        kinds = translate_qdrant.Kind
        assert type(translate_qdrant.translate(error, vector_call(kinds.READ))) is Unavailable
        assert type(translate_qdrant.translate(error, vector_call(kinds.WRITE))) is OutcomeUnknown
        refused = rest.ResponseHandlingException(httpx.ConnectError("refused"))
        assert type(translate_qdrant.translate(refused, vector_call(kinds.WRITE))) is Unavailable

    def test_a_request_that_the_server_does_not_take_is_not_blamed_on_a_document(self) -> None:
        error = rest.UnexpectedResponse(400, "bad", b"", httpx.Headers())
        ours = translate_qdrant.translate(error, vector_call(translate_qdrant.Kind.READ))
        assert type(ours) is Misconfigured
        assert (
            type(translate_qdrant.translate(ZeroDivisionError(), vector_call(translate_qdrant.Kind.READ))) is Terminal
        )


class TestLedgerErrors:
    def test_every_exception_class_of_the_driver_is_mapped(self) -> None:
        found = exception_classes("psycopg")
        silent = {each for each in found if getattr(each, "sqlstate", None) is None}
        unmapped = silent - translate_postgres.BY_CLASS.keys()
        assert not unmapped, f"decide in translate_postgres.py what these mean: {sorted(map(str, unmapped))}"
        states = {str(each.sqlstate) for each in found - silent}  # type: ignore[attr-defined]
        assert len(states) > 200
        undecided = {state for state in states if not {state, state[:2]} & translate_postgres.BY_STATE.keys()}
        assert not undecided, f"decide in translate_postgres.py what these mean: {sorted(undecided)}"

    def test_each_class_gives_one_of_our_errors_without_its_text(self) -> None:
        for kind in exception_classes("psycopg"):
            ours = translate_postgres.translate(kind(TEXT), "begin a batch")
            assert isinstance(ours, ConcordanceError)
            assert TEXT not in str(ours)
            assert "begin a batch" in str(ours)

    @pytest.mark.parametrize(
        ("kind", "expected"),
        [
            (psycopg.errors.SerializationFailure, LostRace),
            (psycopg.errors.DeadlockDetected, LostRace),
            (psycopg.errors.LockNotAvailable, LostRace),
            (psycopg.errors.QueryCanceled, Unavailable),
            (psycopg.errors.AdminShutdown, Unavailable),
            (psycopg.errors.TooManyConnections, Unavailable),
            (psycopg.errors.DiskFull, Unavailable),
            (psycopg.errors.ConnectionFailure, Unavailable),
            (psycopg.errors.IdleInTransactionSessionTimeout, Unavailable),
            (psycopg.errors.InvalidPassword, Misconfigured),
            (psycopg.errors.UndefinedTable, Misconfigured),
            (psycopg.errors.UniqueViolation, Terminal),
            (psycopg.errors.UntranslatableCharacter, Terminal),
            (psycopg.errors.ConnectionTimeout, Unavailable),
            (psycopg.OperationalError, Unavailable),
            (psycopg.ProgrammingError, Terminal),
        ],
    )
    def test_a_sqlstate_or_a_class_decides(self, kind: type[psycopg.Error], expected: type[ConcordanceError]) -> None:
        assert type(translate_postgres.translate(kind(TEXT), "begin a batch")) is expected

    def test_a_statement_that_took_too_long_says_which_settings_allow_more(self) -> None:
        ours = translate_postgres.translate(psycopg.errors.QueryCanceled(TEXT), "publish a run")
        assert "LEDGER_TIMEOUT_SECONDS" in str(ours)
        assert "LEDGER_BULK_TIMEOUT_SECONDS" in str(ours)
