"""What lines and calls carry of the trigger that set them in motion."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator

import pytest
import structlog

from concordance.errors import PoisonDocument
from concordance.model import RawDocument
from concordance.operations import correlation, telemetry
from concordance.parsing.parser import Parser
from concordance.pipeline.conf import run_conf
from concordance.pipeline.references import RunRequest
from concordance.settings import ROOT, load_settings


@pytest.fixture(autouse=True)
def unfiltered() -> Iterator[None]:
    """Whatever other tests have configured in this process (Airflow drops what is below INFO), every line is seen."""
    configured = structlog.get_config()
    structlog.reset_defaults()
    yield
    structlog.configure(**configured)


def test_a_run_s_name_gives_its_id_whoever_makes_it() -> None:
    first = correlation.of_run("scheduled__2026-11-22T02:00:00+00:00")
    assert first == correlation.of_run("scheduled__2026-11-22T02:00:00+00:00")
    assert correlation.is_id(first)
    assert first != correlation.of_run("manual__2026-11-22T02:00:00+00:00")


@pytest.mark.parametrize("given", [None, "", "0123456789ABCDEF", "0123456789abcdef\n", "'; DROP", 7, "0" * 17])
def test_what_is_no_id_is_none(given: object) -> None:
    assert not correlation.is_id(given)


def test_a_run_that_is_triggered_by_another_carries_that_one_s_id() -> None:
    night = correlation.of_run("night")
    asked = run_conf({}, {"source": "notes", "correlation_id": night}).request("night__notes")
    assert asked.correlation_id == night
    assert run_conf({}, {"source": "notes"}).request("by-hand").correlation_id == correlation.of_run("by-hand")
    with correlation.bound(correlation_id=night):
        assert RunRequest("notes", "of-a-build").correlation_id == night
    # It tells nothing of what is asked for, and is kept with it.
    assert asked == run_conf({}, {"source": "notes"}).request("night__notes")
    assert RunRequest.from_json(json.loads(json.dumps(asked.as_json()))).correlation_id == night


def test_what_is_bound_inside_ends_with_the_block_and_stands_beside_what_was_there() -> None:
    with correlation.bound(correlation_id="0123456789abcdef", run="r-1"):
        with correlation.bound(stage="embed", shard=3):
            assert dict(correlation.carried().fields) == {
                "correlation_id": "0123456789abcdef",
                "run": "r-1",
                "stage": "embed",
                "shard": 3,
            }
            assert structlog.contextvars.get_contextvars()["shard"] == 3
            assert correlation.carried().application_name == "concordance 0123456789abcdef embed"
        assert correlation.carried().application_name == "concordance 0123456789abcdef"
    assert correlation.current_id() == ""
    assert "run" not in structlog.contextvars.get_contextvars()


def test_a_name_for_postgresql_is_ascii_and_short_enough_whatever_is_bound() -> None:
    with correlation.bound(correlation_id="0123456789abcdef", stage="é" * 200, run="r" * 10_000):
        name = correlation.carried().application_name
        assert name.isascii()
        assert len(name) == correlation.MAX_NAME_BYTES
        assert len(str(correlation.carried().fields["run"])) == 250


def test_threads_carry_what_their_caller_carried_all_at_once() -> None:
    both = threading.Barrier(2, timeout=30)

    def who() -> str:
        both.wait()
        return correlation.current_id()

    with correlation.Threads(2) as threads:
        asked = []
        for each in ("0" * 16, "1" * 16):
            with correlation.bound(correlation_id=each):
                asked.append(threads.submit(who))
        assert [each.result() for each in asked] == ["0" * 16, "1" * 16]
        with correlation.bound(correlation_id="2" * 16):
            assert list(threads.map(lambda _: who(), range(2))) == ["2" * 16] * 2
    assert correlation.current_id() == ""


def test_a_stage_that_fails_says_so_in_one_line_with_its_reason_and_ids() -> None:
    with (
        structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines,
        pytest.raises(PoisonDocument),
        correlation.bound(correlation_id="0123456789abcdef", run="r-1"),
        telemetry.stage("extract", source="notes", settings=load_settings(environment={})),
    ):
        raise PoisonDocument("document a.md has no text to index", reason="no_text")
    (line,) = lines
    assert line.pop("seconds") >= 0
    assert line == {
        "event": "a stage failed",
        "log_level": "error",
        "error": "PoisonDocument",
        "reason": "no_text",
        "says": "document a.md has no text to index",
        "correlation_id": "0123456789abcdef",
        "run": "r-1",
        "stage": "extract",
        "source": "notes",
    }


def note(content: bytes) -> RawDocument:
    return RawDocument(uri="note.md", content=content, media_type="text/markdown", title=None)


def test_the_parser_s_process_is_told_the_id_and_its_line_has_it(parser: Parser) -> None:
    with (
        structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines,
        correlation.bound(correlation_id="0123456789abcdef", document_id="d-1"),
    ):
        parser.parse(note(b"# A note\n\nprivate words\n"))
    (line,) = [line for line in lines if line["event"] == "the parser's process read a document"]
    assert (line["correlation_id"], line["document_id"]) == ("0123456789abcdef", "d-1")
    assert line["child"] in parser.child_pids
    assert line["seconds"] >= 0
    assert "private" not in json.dumps(line)


# Answers as the child does, but for its line.
IMPOSTOR = """
import sys
sys.path.insert(0, {root!r})
from concordance.parsing import frames
answers = sys.stdout.buffer
answers.write(frames.pack({{"restrictions": []}})); answers.flush()
header_bytes, body_bytes = frames.LENGTHS.unpack(sys.stdin.buffer.read(frames.LENGTHS.size))
header = frames.unpack_header(sys.stdin.buffer.read(header_bytes)); sys.stdin.buffer.read(body_bytes)
line = {{"correlation_id": header["correlation_id"], "seconds": "private words", "cpu_seconds": 0}}
answer = {{"asked": header["asked"], "title": None, "targets": [], "line": line}}
answers.write(frames.pack(answer, b"text")); answers.flush()
sys.stdin.buffer.read()
"""


def test_a_child_that_was_taken_over_cannot_write_into_the_log() -> None:
    command = (sys.executable, "-c", IMPOSTOR.format(root=str(ROOT / "include")))
    with (
        structlog.testing.capture_logs() as lines,
        Parser(load_settings(environment={}), command=command) as impostor,
    ):
        assert impostor.parse(note(b"# A note\n")).markdown == "text"
    assert lines == []
