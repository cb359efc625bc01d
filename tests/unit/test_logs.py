"""What a log line may hold."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from concordance.operations.logs import MASK, MAX_VALUE_CHARACTERS, configure_logs


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Put the process's logging back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
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


def test_an_exception_is_one_string_for_programs(stream: io.StringIO) -> None:
    try:
        raise LookupError("gone")
    except LookupError:
        structlog.get_logger().exception("failed")
    assert "LookupError: gone" in lines(stream)[0]["exception"]


def test_a_person_reads_lines_with_the_same_masks() -> None:
    written = io.StringIO()
    configure_logs(level="INFO", as_json=False, stream=written)
    structlog.get_logger().info("connected", password="hunter2", source="notes")
    assert "hunter2" not in written.getvalue()
    assert "connected" in written.getvalue()
    assert "notes" in written.getvalue()
