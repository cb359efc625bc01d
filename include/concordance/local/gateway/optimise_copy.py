"""Child process of the gateway: run the engine's optimisers over one folder, to the end.

`python -m concordance.local.gateway.optimise_copy FOLDER`, the collection's creation body on standard input. The exit
status is 0 when something was optimised, NOTHING_TO_DO when not.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

import msgspec
from qdrant_edge import EdgeShard

from concordance.local.gateway.schema import engine_config

NOTHING_TO_DO: Final = 3
_PR_SET_PDEATHSIG = 1


def main() -> int:
    # Nobody waits for the result once the gateway is gone, and the next one removes the folder.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.nice(5)
    shard = EdgeShard.load(sys.argv[1], engine_config(msgspec.json.decode(sys.stdin.buffer.read())))
    has_changed = shard.optimize()
    shard.close()
    return 0 if has_changed else NOTHING_TO_DO


if __name__ == "__main__":
    sys.exit(main())
