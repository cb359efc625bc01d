"""What a log line may hold."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from concordance.errors import Misconfigured, Unavailable
from concordance.operations.logs import MASK, MAX_VALUE_CHARACTERS, LogFile, configure_logs, protect
from concordance.operations.tracebacks import LEFT_OUT, as_text
from concordance.settings import load_settings

LOGGERS = ("", "concordance", "neo4j", "httpx")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Put the process's logging back as it was."""
    root = logging.getLogger()
    handlers, levels = root.handlers[:], {name: logging.getLogger(name).level for name in LOGGERS}
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def stream() -> io.StringIO:
    written = io.StringIO()
    configure_logs(level="INFO", stream=written)
    return written


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_program_reads_one_json_object_a_line(stream: io.StringIO) -> None:
    structlog.get_logger("concordance.test").info("planned", source="notes", added=3)
    (line,) = lines(stream)
    assert (line["event"], line["source"], line["added"], line["level"]) == ("planned", "notes", 3, "info")
    assert line["logger"] == "concordance.test"
    assert line["timestamp"].endswith("Z")


def test_lines_of_other_libraries_come_out_the_same_way(stream: io.StringIO) -> None:
    logging.getLogger("some.library").warning("slow %s", "answer", extra={"api_key": "k-123"})
    (line,) = lines(stream)
    assert line["event"] == "slow answer"
    assert line["api_key"] == MASK


def test_below_the_level_nothing_is_written(stream: io.StringIO) -> None:
    structlog.get_logger("concordance.test").debug("detail")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("key", ["password", "ledger_password", "qdrant_api_key", "token", "Authorization", "secret"])
def test_a_secret_is_masked_by_its_key_also_inside_other_values(stream: io.StringIO, key: str) -> None:
    structlog.get_logger().info("connected", **{key: "hunter2"}, nested={"inner": [{key: "hunter2"}]})
    assert "hunter2" not in stream.getvalue()
    assert lines(stream)[0][key] == MASK


def test_a_password_in_a_url_is_cut_wherever_it_stands(stream: io.StringIO) -> None:
    structlog.get_logger().info("open postgresql://user:hunter2@127.0.0.1/db", url="bolt://neo4j:hunter2@host:7687")
    assert "hunter2" not in stream.getvalue()
    assert lines(stream)[0]["url"] == f"bolt://neo4j:{MASK}@host:7687"


@pytest.mark.parametrize("key", ["text", "chunk_text", "body", "markdown", "snippet", "query", "content"])
def test_document_text_is_masked_by_its_key(stream: io.StringIO, key: str) -> None:
    structlog.get_logger().info("chunked", **{key: "private words"}, text_digest="ab12", texts=4)
    (line,) = lines(stream)
    assert line[key] == MASK
    assert (line["text_digest"], line["texts"]) == ("ab12", 4)


def test_a_value_is_bounded_and_cannot_steer_a_terminal(stream: io.StringIO) -> None:
    structlog.get_logger().info("listed", uri="\x1b]0;owned\x07" + "x" * 10_000, many=list(range(1000)))
    (line,) = lines(stream)
    assert "\x1b" not in line["uri"]
    assert len(line["uri"]) < MAX_VALUE_CHARACTERS + 50
    assert len(line["many"]) == 100


def test_an_error_of_ours_says_what_happened_and_where(stream: io.StringIO) -> None:
    try:
        raise Unavailable("the graph does not answer")
    except Unavailable:
        structlog.get_logger().exception("failed")
    (told,) = lines(stream)[0]["exception"]
    assert (told["exc_type"], told["exc_value"]) == ("Unavailable", "the graph does not answer")
    assert told["frames"][-1]["name"] == "test_an_error_of_ours_says_what_happened_and_where"


def fail_over(row: str) -> None:
    """As a driver does that quotes what it was sent, and as ours says it."""
    try:
        raise ValueError(f"cannot write {row}")
    except ValueError as error:
        raise Unavailable("a batch was not written") from error


@pytest.mark.parametrize("as_json", [True, False])
def test_another_library_s_error_says_where_it_came_from_and_quotes_nothing(as_json: bool) -> None:
    written = io.StringIO()
    configure_logs(level="DEBUG", as_json=as_json, stream=written)
    try:
        fail_over("private words")
    except Unavailable:
        structlog.get_logger().exception("failed")
        logging.getLogger("some.library").exception("failed as well")
    said = written.getvalue()
    assert said.count("a batch was not written") == said.count("ValueError") == said.count(LEFT_OUT) == 2
    assert "fail_over" in said
    assert "private" not in said
    assert "row" not in said


def test_each_error_of_a_group_is_told_and_a_chain_that_has_no_end_has_one() -> None:
    group = ExceptionGroup("both", [OSError(28, "No space left on device"), KeyError("private words")])
    group.__context__ = group
    said = as_text(group)
    assert "No space left on device" in said
    assert f"KeyError: {LEFT_OUT}" in said
    assert "private" not in said


def test_what_a_library_sends_is_not_asked_of_it_even_at_debug() -> None:
    written = io.StringIO()
    configure_logs(level="DEBUG", as_json=True, stream=written, levels={"neo4j": "INFO", "httpx": "WARNING"})
    logging.getLogger("neo4j.io").debug("C: RUN %s", {"text": "private words"})
    logging.getLogger("unknown.library").debug("sent: private words")
    logging.getLogger("httpx").info("HTTP Request: POST")
    structlog.get_logger("concordance.test").debug("ours")
    assert [line["event"] for line in lines(written)] == ["ours"]


def test_a_file_gets_the_same_lines_and_is_put_aside_when_it_is_full(tmp_path: Path) -> None:
    written, path = io.StringIO(), tmp_path / "logs" / "concordance.log"
    configure_logs(level="INFO", as_json=False, stream=written, file=LogFile(path, max_bytes=2_000, backups=2))
    for number in range(100):
        structlog.get_logger("concordance.test").info("listed", number=number, password="hunter2")
    kept = sorted(tmp_path.joinpath("logs").iterdir())
    assert [each.name for each in kept] == ["concordance.log", "concordance.log.1", "concordance.log.2"]
    assert all(each.stat().st_size <= 2_000 for each in kept)
    assert json.loads(path.read_text().splitlines()[-1])["number"] == 99
    assert "hunter2" not in written.getvalue() + "".join(each.read_text() for each in kept)


def test_levels_that_are_none_are_refused_by_name() -> None:
    with pytest.raises(Misconfigured, match=r"LOG_LEVELS.*allowed are INFO, WARNING and ERROR"):
        load_settings({"log_levels": "neo4j=DEBUG"}, environment={})


def test_the_handlers_of_somebody_else_stay_and_write_only_what_passed_the_checks() -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    renderer = structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.format_exc_info, renderer],
        logger_factory=structlog.PrintLoggerFactory(written),
    )
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.processors.format_exc_info],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.getLogger().handlers[:] = [handler]
    earlier = structlog.get_logger().bind()
    protect({"neo4j": "INFO"})
    protect({"neo4j": "INFO"})
    assert logging.getLogger().handlers == [handler]
    try:
        fail_over("private words")
    except Unavailable:
        earlier.exception("failed", ledger_password="hunter2")
        logging.getLogger("some.library").exception("failed at bolt://neo4j:hunter2@host")
    assert len(lines(written)) == 2
    assert written.getvalue().count(LEFT_OUT) == 2
    assert "private" not in written.getvalue()
    assert "hunter2" not in written.getvalue()


def test_a_person_reads_lines_with_the_same_masks() -> None:
    written = io.StringIO()
    configure_logs(level="INFO", as_json=False, stream=written)
    structlog.get_logger().info("connected", password="hunter2", source="notes")
    assert "hunter2" not in written.getvalue()
    assert "connected" in written.getvalue()
    assert "notes" in written.getvalue()
