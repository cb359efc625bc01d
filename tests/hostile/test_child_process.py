"""The parser's child process: whatever it does its document is refused and the next one is parsed, and whoever takes
it over has nothing to read, to write or to speak to."""

from __future__ import annotations

import ctypes
import os
import re
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from concordance.errors import Misconfigured, PoisonDocument
from concordance.model import RawDocument, Reason
from concordance.parsing.parser import Parser
from concordance.settings import ROOT, Settings
from support.hostile import Canary

GOOD = RawDocument(uri="good.md", content=b"# Good\n\nText.")

# Speaks the parser's frames and does to its parent what a document's first word says.
DOUBLE = """
    import json, os, signal, struct, sys, time
    asked = None
    def answer(header, body=b""):
        encoded = json.dumps({**header, "asked": asked}).encode()
        sys.stdout.buffer.write(struct.pack(">II", len(encoded), len(body)) + encoded + body)
        sys.stdout.buffer.flush()
    answer({"restrictions": []})
    held = []
    while prefix := sys.stdin.buffer.read(8):
        header_bytes, body_bytes = struct.unpack(">II", prefix)
        asked = json.loads(sys.stdin.buffer.read(header_bytes))["asked"]
        words = sys.stdin.buffer.read(body_bytes).split()
        match words[0]:
            case b"meet" | b"fall":
                os.mkdir(os.path.join(words[1], str(os.getpid()).encode()))
                while len(os.listdir(words[1])) < 2:
                    time.sleep(0.01)
                if words[0] == b"fall":
                    os.abort()
                answer({"title": None, "targets": []}, b"met")
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
            case b"late":
                answer({"title": None, "targets": []}, b"one"); time.sleep(0.1)
                answer({"title": None, "targets": []}, b"two")
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
    (pid,) = parser.child_pids
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


def test_threads_that_parse_at_once_have_a_child_each_and_the_death_of_one_is_only_its_own(tmp_path: Path) -> None:
    program, meeting = tmp_path / "double.py", tmp_path / "meeting"
    program.write_text(textwrap.dedent(DOUBLE))
    meeting.mkdir()
    with (
        Parser(Settings(parser_processes=2), command=[sys.executable, "-I", str(program)]) as parser,
        ThreadPoolExecutor(2) as threads,
    ):
        # Neither answers before both are asked.
        met = threads.submit(parser.parse, raw(f"meet {meeting}", "good.md"))
        lost = threads.submit(refusal, parser, raw(f"fall {meeting}"))
        assert met.result().markdown == "met"
        assert lost.result() == Reason.PARSER_KILLED


@pytest.mark.parametrize("word", ["twice", "late"])
def test_a_second_answer_to_one_question_is_never_taken_for_the_next_documents(double: Parser, word: str) -> None:
    try:
        first = double.parse(raw(word)).markdown
    except PoisonDocument:
        first = "refused"
    assert first in ("one", "refused")
    assert double.parse(raw("next")).markdown == "next"
    assert double.parse(raw("after")).markdown == "after"


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


def how(parser: Parser, name: str) -> str | None:
    """How a restriction is kept on this machine."""
    (kept,) = (each.how for each in parser.restrictions if each.name == name)
    return kept


def test_the_child_says_what_confines_it_on_this_machine(parser: Parser) -> None:
    anywhere = {"resident memory", "wall time", "answer", "document", "environment", "open files", "written files"}
    assert all(how(parser, name) for name in anywhere)
    assert {each.name for each in parser.restrictions} - anywhere == {
        *("data", "processor time", "memory dumps", "rights", "network", "other programs", "files of the machine")
    }
    assert not {"HOME", "PATH", "PYTHONPATH"} & set(psutil.Process(child_of(parser)).environ())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of another process are Linux's to tell")
def test_the_kernel_holds_the_limits_that_the_settings_name() -> None:
    settings = Settings(parser_memory_bytes=300_000_000, parser_cpu_seconds=7, parser_open_files=32)
    with Parser(settings) as parser:
        child = psutil.Process(child_of(parser))
        assert 300_000_000 <= child.rlimit(psutil.RLIMIT_DATA)[1] <= 300_000_000 + 16_000_000 * psutil.cpu_count()
        assert child.rlimit(psutil.RLIMIT_NOFILE) == (32, 32)
        assert child.rlimit(psutil.RLIMIT_FSIZE) == child.rlimit(psutil.RLIMIT_CORE) == (0, 0)
        assert child.rlimit(psutil.RLIMIT_CPU)[0] == 7


def test_a_real_document_that_needs_more_memory_than_allowed_is_refused_and_the_next_is_parsed() -> None:
    with Parser(Settings(parser_memory_bytes=64_000_000)) as parser:
        assert refusal(parser, raw("a paragraph of *many* words\n\n" * 700_000, "large.md")) == Reason.PARSER_KILLED
        assert parser.parse(GOOD).title == "Good"


def test_a_real_document_that_takes_too_long_is_refused_and_the_next_is_parsed() -> None:
    with Parser(Settings(parser_timeout_seconds=1)) as parser:
        assert refusal(parser, raw("- item *with* ``code``\n\n" * 100_000, "long.rst")) == Reason.PARSER_TIMEOUT
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


# --- a document that took its child over --------------------------------------------------------------------------

# Confined as the real child is; then it does what a document says and answers how that ended.
TAKEN_OVER = """
    import json, os, socket, struct, sys, threading
    sys.path.insert(0, {include!r})
    from concordance.parsing import frames
    from concordance.parsing.restrictions import allow_cpu, confine
    memory_bytes, cpu_seconds, open_files = map(int, sys.argv[1:])
    answers = sys.stdout.buffer
    asked = None
    def answer(header, body=b""):
        answers.write(frames.pack({{**header, "asked": asked}}, body)); answers.flush()
    def exchange():
        with socket.socketpair()[0]:
            return "paired"
    def spin():
        allow_cpu(cpu_seconds)
        while True:
            pass
    def work():
        done = []
        thread = threading.Thread(target=lambda: done.append("worked")); thread.start(); thread.join()
        return done[0]
    def opened():
        held = [open(os.__file__) for _ in range(open_files)]
    deeds = {{
        "read": lambda: open({file!r}).read(),
        "list": lambda: os.listdir({folder!r}),
        "write": lambda: open({folder!r} + "/written", "w"),
        "delete": lambda: os.unlink({file!r}),
        "peep": lambda: open(f"/proc/{{os.getppid()}}/environ").read(),
        "signal": lambda: os.kill(os.getppid(), 0),
        "connect": lambda: socket.create_connection(("127.0.0.1", {port})),
        "datagram": lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM),
        "unix": lambda: socket.socket(socket.AF_UNIX),
        "execute": lambda: os.execv("/bin/sh", ["sh", "-c", "exit 0"]),
        "fork": lambda: os.fork() or os._exit(0),
        "hoard": lambda: bytearray(10 * memory_bytes),
        "open": opened,
        "spin": spin,
        "library": lambda: open(os.__file__).read() and "read",
        "thread": work,
        "pair": exchange,
    }}
    kept = confine(memory_bytes=memory_bytes, cpu_seconds=cpu_seconds, open_files=open_files)
    answer({{"restrictions": kept}})
    while prefix := sys.stdin.buffer.read(frames.LENGTHS.size):
        header_bytes, body_bytes = frames.LENGTHS.unpack(prefix)
        asked = json.loads(sys.stdin.buffer.read(header_bytes))["asked"]
        word = sys.stdin.buffer.read(body_bytes).decode()
        try:
            said = str(deeds[word]())
        except (OSError, MemoryError) as error:
            said = type(error).__name__
        answer({{"title": None, "targets": []}}, said.encode())
"""


@pytest.fixture(scope="module")
def taken_over(tmp_path_factory: pytest.TempPathFactory, canary: Canary) -> Iterator[Parser]:
    program = tmp_path_factory.mktemp("taken") / "over.py"
    names = {
        "include": str(ROOT / "include"),
        "file": str(canary.file),
        "folder": str(canary.file.parent),
        "port": urlsplit(canary.url).port,
    }
    program.write_text(textwrap.dedent(TAKEN_OVER).format(**names))
    settings = Settings(parser_memory_bytes=200_000_000, parser_cpu_seconds=1, parser_timeout_seconds=30)
    with Parser(settings, command=[sys.executable, "-I", str(program)]) as parser:
        yield parser


@pytest.mark.parametrize(
    ("word", "kept_by"),
    [
        *((word, "files of the machine") for word in ("read", "list", "write", "delete", "peep")),
        ("connect", "network"),
        # One filter keeps these and other programs away.
        *((word, "other programs") for word in ("unix", "datagram", "execute", "fork")),
        ("hoard", "data"),
        ("open", "open files"),
    ],
)
def test_whoever_takes_the_child_over_gets_nowhere(taken_over: Parser, canary: Canary, word: str, kept_by: str) -> None:
    if how(taken_over, kept_by) is None:
        pytest.skip(f"this machine cannot keep: {kept_by}")
    assert taken_over.parse(raw(word)).markdown.endswith("Error")
    canary.assert_silent()


@pytest.mark.parametrize(("word", "done"), [("library", "read"), ("thread", "worked"), ("pair", "paired")])
def test_what_the_parsers_need_goes_on(taken_over: Parser, word: str, done: str) -> None:
    assert taken_over.parse(raw(word)).markdown == done


def test_a_child_that_spins_is_ended_by_its_processor_time(taken_over: Parser) -> None:
    assert refusal(taken_over, raw("spin")) == Reason.PARSER_TIMEOUT
    assert taken_over.parse(raw("library")).markdown == "read"


def test_a_signal_to_the_parent_is_refused_where_the_kernel_can(taken_over: Parser) -> None:
    """Since the sixth version of Landlock; before it, nothing keeps a process from signalling another of its user."""
    if taken_over.parse(raw("signal")).markdown != "PermissionError":
        assert landlock_version() < 6


def landlock_version() -> int:
    return int(ctypes.CDLL(None).syscall(444, None, 0, 1)) if sys.platform.startswith("linux") else 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="network namespaces are Linux's")
def test_a_child_with_a_namespace_of_its_own_sees_no_interface(parser: Parser) -> None:
    if "namespace" not in (how(parser, "network") or ""):
        pytest.skip("this kernel refuses a network namespace to this user")
    assert os.readlink(f"/proc/{child_of(parser)}/ns/net") != os.readlink("/proc/self/ns/net")
    interfaces = Path(f"/proc/{child_of(parser)}/net/dev").read_text().splitlines()[2:]
    assert [line.split(":")[0].strip() for line in interfaces if not re.match(r"\s*(lo|\w+0):", line)] == []
