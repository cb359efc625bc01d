"""The command line in whose run a library fails, quoting what it was given: `python failing_command.py POINT WORDS...`.

The rest of the arguments are the command's.
"""

from __future__ import annotations

import sys

from concordance import fault_points
from concordance.__main__ import main

if __name__ == "__main__":
    point, quoted, *command = sys.argv[1:]

    def fail(reached: str) -> None:
        if reached == point:
            row = {"text": quoted}
            raise ValueError(f"cannot pack {row}")

    with fault_points.hooked(fail):
        raise SystemExit(main(command))
