"""The parser's child process: confines itself, then reads documents from a pipe until it closes.

Started by `confinement` as a program of its own (`python -I child.py memory_bytes cpu_seconds open_files`), with an
empty environment. It imports the standard library and the pure modules beside it; the native parser and docutils are
loaded when the first document needs them. Answers name a reason code, never a message of a parser: those quote
documents.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import IO, Any

if __name__ == "__main__":
    # `-I` keeps the folder of the program off the path; the package's parent is all that is needed.
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from concordance.parsing import frames
from concordance.parsing.extract import extract
from concordance.parsing.limits import Limits, Poison
from concordance.parsing.restrictions import allow_cpu, confine


def serve(requests: IO[bytes], answers: IO[bytes], *, cpu_seconds: int) -> None:
    """Answer one frame for each until the pipe closes."""
    while prefix := requests.read(frames.LENGTHS.size):
        header_bytes, body_bytes = frames.lengths(prefix, max_body_bytes=2**32 - 1)
        header = frames.unpack_header(requests.read(header_bytes))
        content = requests.read(body_bytes)
        allow_cpu(cpu_seconds)
        began, cpu_began = time.monotonic(), time.process_time()
        answer, text = _answer(header, content)
        # Its line of the log, which the parent writes: numbers, and the id that it was given.
        line = {
            "correlation_id": header.get("correlation_id", ""),
            "seconds": round(time.monotonic() - began, 4),
            "cpu_seconds": round(time.process_time() - cpu_began, 4),
        }
        answers.write(frames.pack({**answer, "asked": header["asked"], "line": line}, text))
        answers.flush()


def _answer(header: dict[str, Any], content: bytes) -> tuple[dict[str, Any], bytes]:
    try:
        extracted = extract(
            content,
            media_type=header["media_type"],
            name=header["name"],
            limits=Limits(**header["limits"]),
        )
        text = extracted.markdown.encode()
    except Poison as error:
        return {"reason": error.reason, "detail": error.detail}, b""
    except MemoryError:
        return {"reason": "parser_killed", "detail": "it needed more memory than it may use"}, b""
    except Exception as error:
        return {"reason": "parser_failed", "detail": type(error).__name__}, b""
    return {"title": extracted.title, "targets": extracted.targets}, text


def main() -> None:
    memory_bytes, cpu_seconds, open_files = map(int, sys.argv[1:])
    # Libraries may print: what they print must not end up between two frames.
    answers = os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    kept = confine(memory_bytes=memory_bytes, cpu_seconds=cpu_seconds, open_files=open_files)
    answers.write(frames.pack({"restrictions": kept}))
    answers.flush()
    serve(sys.stdin.buffer, answers, cpu_seconds=cpu_seconds)


if __name__ == "__main__":
    main()
