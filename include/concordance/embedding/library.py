"""OpenVINO, imported so that nothing leaves the machine.

Its converter and NNCF report their use to their authors' server as soon as the package `openvino_telemetry` can be
imported. Here it cannot, from the first import on and in the whole process.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any, cast

from concordance.lean_imports import without

_TELEMETRY = "openvino_telemetry"
_CONVERTER = "openvino.tools.ovc"


def without_telemetry() -> None:
    """Whatever imports the package from now on finds that it is not there, which both libraries provide for."""
    cast(dict[str, Any], sys.modules)[_TELEMETRY] = None


def load_openvino() -> ModuleType:
    """The library without its converter, which takes as long to import as all the rest."""
    without_telemetry()
    with without(_CONVERTER):
        return importlib.import_module("openvino")
