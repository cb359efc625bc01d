"""Documents that kill, hang or deceive their parser: each is refused with its reason, and the next one is parsed."""

from __future__ import annotations

import io
import os
import re
import socket
import struct
import sys
import textwrap
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from concordance.errors import Misconfigured, PoisonDocument
from concordance.model import RawDocument, Reason
from concordance.parsing.parser import Parser
from concordance.settings import Settings

SECONDS = 30.0
GOOD = RawDocument(uri="good.md", content=b"# Good\n\nText.")

# Speaks the parser's frames and does to its parent what a document's first word says.
DOUBLE = """
    import json, os, signal, struct, sys
    def answer(header, body=b""):
        encoded = json.dumps(header).encode()
        sys.stdout.buffer.write(struct.pack(">II", len(encoded), len(body)) + encoded + body)
        sys.stdout.buffer.flush()
    answer({"isolation": []})
    held = []
    while prefix := sys.stdin.buffer.read(8):
        header_bytes, body_bytes = struct.unpack(">II", prefix)
        sys.stdin.buffer.read(header_bytes)
        match sys.stdin.buffer.read(body_bytes).split()[0]:
            case b"hang":
                signal.pause()
            case b"crash":
                os.abort()
            case b"leave":
                sys.exit(3)
            case b"hoard":
                held.append(bytearray(b"x" * 400_000_000))
                signal.pause()
            case b"leak":
                held.append(bytearray(b"x" * 90_000_000))
                answer({"title": None, "targets": []}, b"leaked")
            case b"noise":
                sys.stdout.buffer.write(os.urandom(64)); sys.stdout.buffer.flush()
            case b"flood":
                sys.stdout.buffer.write(struct.pack(">II", 2, 4_000_000_000)); sys.stdout.buffer.flush()
            case b"twice":
                answer({"title": None, "targets": []}, b"one"); answer({"title": None, "targets": []}, b"two")
            case b"bytes":
                answer({"title": None, "targets": []}, b"\\xff not text")
            case b"nul":
                answer({"title": None, "targets": []}, b"a\\x00b")
            case b"types":
                answer({"title": 5, "targets": "none"}, b"text")
            case b"reason":
                answer({"reason": "invented", "detail": "x" * 10_000})
            case word:
                answer({"title": None, "targets": []}, word)
"""


@pytest.fixture
def double(tmp_path: Path) -> Iterator[Parser]:
    program = tmp_path / "double.py"
    program.write_text(textwrap.dedent(DOUBLE))
    settings = Settings(parser_memory_bytes=200_000_000, parser_timeout_seconds=5)
    with Parser(settings, command=[sys.executable, "-I", str(program)]) as parser:
        yield parser


def raw(content: bytes | str, uri: str = "bad.md", media_type: str | None = None) -> RawDocument:
    return RawDocument(
        uri=uri, content=content.encode() if isinstance(content, str) else content, media_type=media_type
    )


def refusal(parser: Parser, document: RawDocument) -> Reason:
    with pytest.raises(PoisonDocument) as refused:
        parser.parse(document)
    assert document.uri in str(refused.value)
    assert len(str(refused.value)) < 1000
    return Reason(refused.value.reason)


def child_of(parser: Parser) -> int:
    pid = parser._child.pid
    assert pid is not None
    return pid


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("crash", Reason.PARSER_KILLED),
        ("leave", Reason.PARSER_KILLED),
        ("hoard", Reason.PARSER_KILLED),
        ("noise", Reason.PARSER_FAILED),
        ("flood", Reason.PARSER_FAILED),
        ("bytes", Reason.PARSER_FAILED),
        ("nul", Reason.PARSER_FAILED),
        ("types", Reason.PARSER_FAILED),
        ("reason", Reason.PARSER_FAILED),
    ],
)
def test_whatever_a_child_does_its_document_is_refused_and_the_next_one_is_parsed(
    double: Parser, word: str, expected: Reason
) -> None:
    assert double.parse(raw("before")).markdown == "before"
    assert refusal(double, raw(word)) == expected
    assert double.parse(raw("after")).markdown == "after"


def test_a_document_that_hangs_its_parser_is_refused_after_the_time_limit(tmp_path: Path) -> None:
    program = tmp_path / "double.py"
    program.write_text(textwrap.dedent(DOUBLE))
    settings = Settings(parser_timeout_seconds=1)
    with Parser(settings, command=[sys.executable, "-I", str(program)]) as parser:
        hung = child_of(parser)
        assert refusal(parser, raw("hang")) == Reason.PARSER_TIMEOUT
        assert not psutil.pid_exists(hung)
        assert parser.parse(raw("after")).markdown == "after"


def test_a_second_answer_to_one_question_is_never_taken_for_the_next_documents(double: Parser) -> None:
    try:
        first = double.parse(raw("twice")).markdown
    except PoisonDocument:
        first = "refused"
    assert first in ("one", "refused")
    try:
        second = double.parse(raw("next")).markdown
    except PoisonDocument:
        second = "refused"
    assert second in ("next", "refused")


def test_memory_that_earlier_documents_left_behind_condemns_no_later_one(double: Parser) -> None:
    for number in range(5):
        assert double.parse(raw(f"leak {number}")).markdown == "leaked"


def test_a_child_is_ended_when_the_parser_is_left(double: Parser) -> None:
    with Parser(Settings()) as parser:
        pid = child_of(parser)
        assert psutil.pid_exists(pid)
    assert not psutil.pid_exists(pid)


def test_a_program_that_cannot_be_started_is_a_mistake_of_the_set_up(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot be started"), Parser(Settings(), command=[str(tmp_path / "none")]):
        pass
    with pytest.raises(Misconfigured, match="did not start"), Parser(Settings(), command=[sys.executable, "-c", "1"]):
        pass


def test_a_document_larger_than_the_pipe_goes_through(double: Parser) -> None:
    assert double.parse(raw(b"word " + b"x" * 20_000_000)).markdown == "word"


# --- the real child -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    with Parser(Settings(parser_timeout_seconds=20)) as parser:
        yield parser


def test_the_child_has_an_empty_environment_and_says_what_confines_it(parser: Parser) -> None:
    assert {"empty environment", "open files", "file size", "cpu time", "wall time", "resident memory"} <= set(
        parser.isolation
    )
    assert not {"HOME", "PATH", "PYTHONPATH"} & set(psutil.Process(child_of(parser)).environ())


def test_a_real_document_that_needs_more_memory_than_allowed_is_refused_and_the_next_is_parsed() -> None:
    with Parser(Settings(parser_memory_bytes=64_000_000)) as parser:
        assert refusal(parser, raw("a paragraph of *many* words\n\n" * 700_000, "large.md")) == Reason.PARSER_KILLED
        assert parser.parse(GOOD).title == "Good"


def test_a_real_document_that_takes_too_long_is_refused_and_the_next_is_parsed() -> None:
    with Parser(Settings(parser_timeout_seconds=1)) as parser:
        assert refusal(parser, raw("- item *with* ``code``\n\n" * 100_000, "long.rst")) == Reason.PARSER_TIMEOUT
        assert parser.parse(GOOD).title == "Good"


def bomb(inner: bytes, *, times: int) -> bytes:
    """A zip that says it is a word document and expands to `times` megabytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        with archive.open("word/document.xml", "w", force_zip64=True) as member:
            for _ in range(times):
                member.write(inner * (1_000_000 // len(inner)))
    return buffer.getvalue()


def test_a_zip_bomb_is_quarantined_with_its_reason(parser: Parser) -> None:
    assert refusal(parser, raw(bomb(b"A", times=120), "bomb.docx")) == Reason.TOO_LARGE
    assert parser.parse(GOOD).title == "Good"


def test_a_zip_whose_headers_lie_about_its_size_is_refused(parser: Parser) -> None:
    packed = bomb(b"A", times=120)
    lying = packed.replace(struct.pack("<I", 120_000_000), struct.pack("<I", 1_000))
    assert refusal(parser, raw(lying, "bomb.docx")) in (Reason.TOO_LARGE, Reason.PARSER_FAILED, Reason.PARSER_KILLED)
    assert parser.parse(GOOD).title == "Good"


@pytest.mark.parametrize(
    ("content", "uri"),
    [
        (b"<div>" * 300_000, "deep.html"),
        (b"[" * 1_000_000, "deep.json"),
        (b"<a>" * 300_000, "deep.xml"),
        (b"- " * 200_000, "deep.md"),
        (b"> " * 200_000 + b"x", "quotes.md"),
        (b"(" * 1_000_000, "deep.txt"),
        (b"=" * 500_000 + b"\n" + b"x" * 500_000, "long.rst"),
        (b"\n" * 5_000_000 + b"x", "lines.md"),
        (b" " * 5_000_000 + b"x", "spaces.md"),
        (("e" + "\u0301" * 1_000_000).encode(), "marks.md"),
        (b"%PDF-1.7\n1 0 obj<</Type/Catalog/Pages 1 0 R>>endobj\ntrailer<</Root 1 0 R/Size 4294967295>>", "ring.pdf"),
        (b"{\\rtf1" + b"{" * 100_000, "deep.rtf"),
    ],
)
def test_hostile_shapes_are_read_or_refused_and_never_end_the_parser(parser: Parser, content: bytes, uri: str) -> None:
    try:
        parsed = parser.parse(raw(content, uri))
    except PoisonDocument as refused:
        outcome: object = Reason(refused.reason)
    else:
        outcome = len(parsed.markdown) <= 10_000_000
    assert outcome
    assert parser.parse(GOOD).title == "Good"


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[tuple[Path, str, threading.Event]]:
    """A file that must not be read and an address that must not be contacted."""
    file = tmp_path / "canary.txt"
    file.write_text("the canary sings")
    contacted = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        stop = threading.Event()

        def wait() -> None:
            listening.settimeout(0.05)
            while not stop.is_set():
                try:
                    listening.accept()[0].close()
                except TimeoutError:
                    continue
                contacted.set()

        thread = threading.Thread(target=wait)
        thread.start()
        yield file, f"http://127.0.0.1:{listening.getsockname()[1]}/canary", contacted
        stop.set()
        thread.join(SECONDS)


@pytest.mark.parametrize("uri", ["a.xml", "a.svg", "a.html", "a.rst", "a.md"])
def test_nothing_outside_is_read_or_contacted(
    parser: Parser, canary: tuple[Path, str, threading.Event], uri: str
) -> None:
    file, address, contacted = canary
    entities = f'<!DOCTYPE x [<!ENTITY f SYSTEM "file://{file}"><!ENTITY n SYSTEM "{address}">]>'
    documents = {
        "a.xml": f'<?xml version="1.0"?>{entities}<x>text &f; &n;</x>',
        "a.svg": f'<?xml version="1.0"?>{entities}<svg xmlns="http://www.w3.org/2000/svg"><text>a &f; &n;</text></svg>',
        "a.html": f'<html><head><link href="{address}"></head><body>text <iframe src="file://{file}"></iframe></body></html>',
        "a.rst": f"text\n\n.. include:: {file}\n\n.. csv-table::\n   :url: {address}\n\n.. image:: {address}\n",
        "a.md": f"text ![x]({address}) <object data='file://{file}'></object>",
    }
    try:
        markdown = parser.parse(raw(documents[uri], uri)).markdown
    except PoisonDocument as refused:
        markdown = str(refused)
    assert "canary sings" not in markdown
    assert not contacted.is_set()


def test_billion_laughs_are_refused_or_read_within_the_limits(parser: Parser) -> None:
    levels = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    laughs = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY l0 "lol">{levels}]><x>text &l11;</x>'
    try:
        assert len(parser.parse(raw(laughs, "laughs.xml")).markdown) < 1_000_000
    except PoisonDocument as refused:
        assert refused.reason in set(Reason)  # noqa: PT017 - both outcomes keep the promise
    assert parser.parse(GOOD).title == "Good"


def test_a_refusal_never_quotes_the_document(parser: Parser) -> None:
    secret = "ZEBRA-4711"
    for content, uri in (
        (f"%PDF-1.4 {secret}", f"{secret[:1]}.pdf"),
        (f"{{{secret}", "a.json"),
        (f"\x00{secret}\x01\x02", "a.md"),
    ):
        try:
            parser.parse(raw(content, uri))
        except PoisonDocument as refused:
            assert secret not in str(refused)  # noqa: PT017 - a document that reads is as good


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="network namespaces are Linux's")
def test_the_child_has_no_network_where_the_kernel_allows_it(parser: Parser) -> None:
    if "no network" not in parser.isolation:
        pytest.skip("this kernel refuses a network namespace to this user")
    own = os.readlink("/proc/self/ns/net")
    assert os.readlink(f"/proc/{child_of(parser)}/ns/net") != own
    interfaces = Path(f"/proc/{child_of(parser)}/net/dev").read_text().splitlines()[2:]
    assert [line.split(":")[0].strip() for line in interfaces if not re.match(r"\s*(lo|\w+0):", line)] == []
