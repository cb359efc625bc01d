"""The command line: `python -m concordance COMMAND`. The same functions as under Airflow, without it."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence

from concordance.commands.parser import build_parser
from concordance.errors import ConcordanceError, Misconfigured, Transient

OK, FAILED, WRONG_INPUT, TRY_AGAIN, INTERRUPTED = 0, 1, 2, 3, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 failed or unsound, 2 wrong input, 3 try again later.

    An error is one line on standard error; `--debug` shows where it came from.
    """
    arguments = build_parser().parse_args(argv)
    try:
        code = int(arguments.run(arguments))
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("interrupted: what was begun is resumed or closed by the next run", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has enough of it. Python would complain again when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Exception as error:
        if arguments.debug:
            from concordance.operations.tracebacks import as_text

            print(as_text(error), file=sys.stderr)
        print(f"concordance {arguments.command}: {_sentence(error)}", file=sys.stderr)
        return exit_code(error)


def exit_code(error: Exception) -> int:
    """2 for what a person must correct first, 3 for what may succeed later, 1 for the rest."""
    if isinstance(error, Misconfigured):
        return WRONG_INPUT
    return TRY_AGAIN if isinstance(error, Transient) else FAILED


def _sentence(error: Exception) -> str:
    from concordance.commands.output import printable

    if isinstance(error, ConcordanceError):
        return printable(str(error)) or type(error).__name__
    # An error that is not one of ours may hold anything, document text included: its class says enough to find it.
    return f"this is a defect ({type(error).__name__}): run it again with --debug and report the traceback"


if __name__ == "__main__":
    # A command begins with a second of imports, which leave no garbage: looking for it all the time takes 0.1 s.
    gc.set_threshold(50_000, 20, 20)
    code = main()
    # What is left goes with the process: without this Python looks through it first, for 0.4 s after a search.
    gc.freeze()
    raise SystemExit(code)
