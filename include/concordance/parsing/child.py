"""The parser's child process: confines itself, then reads documents from a pipe until it closes.

Started by `confinement` as a program of its own (`python -I child.py memory_bytes cpu_seconds`), with an empty
environment. It imports the standard library and the pure modules beside it; the native parser and docutils are loaded
when the first document needs them. Answers name a reason code, never a message of a parser: those quote documents.
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from typing import IO, Any

if __name__ == "__main__":
    # `-I` keeps the folder of the program off the path; the package's parent is all that is needed.
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from concordance.parsing import frames
from concordance.parsing.extract import Poison, extract

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_PR_SET_NO_NEW_PRIVS = 38
_OPEN_FILES = 64
_MIN_DATA_BYTES = 2_000_000_000


def confine(memory_bytes: int, cpu_seconds: int) -> list[str]:
    """Put every limit in force that this machine allows, and name them.

    The limit on data is a fuse far above the resident limit that the parent watches: native code reserves much more
    than it uses, and an address-space limit near the real need kills it on tiny files.
    """
    in_force = ["empty environment"] if not set(os.environ) - {"LC_CTYPE", "LC_ALL"} else []
    data_bytes = max(4 * memory_bytes, _MIN_DATA_BYTES)
    for name, limit in (
        ("core", (0, 0)),
        ("open files", (_OPEN_FILES, _OPEN_FILES)),
        ("file size", (0, 0)),
        ("data", (data_bytes, data_bytes)),
        ("cpu time", (cpu_seconds, resource.RLIM_INFINITY)),
    ):
        kind = {
            "core": resource.RLIMIT_CORE,
            "open files": resource.RLIMIT_NOFILE,
            "file size": resource.RLIMIT_FSIZE,
            "data": resource.RLIMIT_DATA,
            "cpu time": resource.RLIMIT_CPU,
        }[name]
        try:
            resource.setrlimit(kind, limit)
        except (OSError, ValueError):
            continue
        in_force.append(name)
    return in_force + _confine_linux()


def _confine_linux() -> list[str]:
    """A network namespace without a network, and no way to more rights, where the kernel and its policy allow it."""
    if not sys.platform.startswith("linux"):
        return []
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    in_force = []
    if libc.unshare(_CLONE_NEWNET) == 0 or libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0:
        in_force.append("no network")
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
        in_force.append("no new privileges")
    return in_force


def allow_cpu(seconds: int) -> None:
    """Let this process use `seconds` more of processor time: the limit counts its whole life, a document its own."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + seconds + 1
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def serve(requests: IO[bytes], answers: IO[bytes], *, cpu_seconds: int) -> None:
    """Answer one frame for each until the pipe closes."""
    while prefix := requests.read(frames.LENGTHS.size):
        header_bytes, body_bytes = frames.lengths(prefix, max_body_bytes=2**32 - 1)
        header = frames.unpack_header(requests.read(header_bytes))
        content = requests.read(body_bytes)
        allow_cpu(cpu_seconds)
        answers.write(_answer(header, content))
        answers.flush()


def _answer(header: dict[str, Any], content: bytes) -> bytes:
    try:
        extracted = extract(
            content,
            media_type=header["media_type"],
            name=header["name"],
            max_text_bytes=header["max_text_bytes"],
        )
        text = extracted.markdown.encode()
    except Poison as error:
        return frames.pack({"reason": error.reason, "detail": error.detail})
    except MemoryError:
        return frames.pack({"reason": "parser_killed", "detail": "it needed more memory than it may use"})
    except Exception as error:
        return frames.pack({"reason": "parser_failed", "detail": type(error).__name__})
    return frames.pack({"title": extracted.title, "targets": extracted.targets}, text)


def main() -> None:
    memory_bytes, cpu_seconds = int(sys.argv[1]), int(sys.argv[2])
    # Libraries may print: what they print must not end up between two frames.
    answers = os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    answers.write(frames.pack({"isolation": confine(memory_bytes, cpu_seconds)}))
    answers.flush()
    serve(sys.stdin.buffer, answers, cpu_seconds=cpu_seconds)


if __name__ == "__main__":
    main()
