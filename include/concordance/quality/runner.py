"""Where Great Expectations runs: one context a gate, and one batch a slice of rows.

Only what is safe to keep leaves this module: the name of an expectation, counts, and the positions of the rows that
fail it. Great Expectations' own results hold cell values, and so may the messages of the exceptions that it catches.

Importing Great Expectations takes 6 to 15 seconds and 226 MB, so it is imported when a gate has something to judge.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from concordance.errors import GateFailed

if TYPE_CHECKING:
    import pandas as pd

# Positions of failing rows, and nothing else of them.
_RESULT_FORMAT = {"result_format": "COMPLETE", "include_unexpected_rows": False}


@dataclass(frozen=True, slots=True)
class Suite:
    """What is expected of each row of one kind of frame. `name` is unique inside a gate; where `is_named`, it stands
    before its expectations in the verdict."""

    name: str
    expectations: Callable[[Any], Sequence[Any]]
    is_named: bool = False


@dataclass(frozen=True, slots=True)
class Judged:
    """One expectation over one slice: how many rows it looked at, and the positions of those that do not meet it."""

    expectation: str
    evaluated: int
    failed: tuple[int, ...]


class Runner:
    """Great Expectations for one gate; nothing is imported before the first slice."""

    def __init__(self, gate: str) -> None:
        self._gate = gate
        self._context: Any = None
        self._suites: dict[str, tuple[Any, Any]] = {}

    def judge(self, suite: Suite, frame: pd.DataFrame) -> list[Judged]:
        """Evaluate the suite over one slice. Raises `GateFailed` when one of its expectations cannot be evaluated."""
        frame = frame.reset_index(drop=True)
        # Its deprecations are its maintainers' to resolve; where warnings are errors they would stop the gate.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            definition, expected = self._made(suite)
            batch = definition.get_batch(batch_parameters={"dataframe": frame})
            result = batch.validate(expected, result_format=_RESULT_FORMAT)
        return [self._judged(suite, one, len(frame)) for one in result.results]

    def _made(self, suite: Suite) -> tuple[Any, Any]:
        if suite.name in self._suites:
            return self._suites[suite.name]
        logging.getLogger("great_expectations").setLevel(logging.WARNING)
        import great_expectations as gx
        import great_expectations.expectations as gxe
        from great_expectations.data_context.types.base import ProgressBarsConfig

        if self._context is None:
            self._context = gx.get_context(mode="ephemeral")
            self._context.enable_analytics(False)
            self._context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
        asset = self._context.data_sources.add_pandas(suite.name).add_dataframe_asset(suite.name)
        expected = gx.ExpectationSuite(name=suite.name, expectations=list(suite.expectations(gxe)))
        self._suites[suite.name] = asset.add_batch_definition_whole_dataframe(suite.name), expected
        return self._suites[suite.name]

    def _judged(self, suite: Suite, result: Any, rows: int) -> Judged:
        config = result.expectation_config
        columns = [config.kwargs[key] for key in ("column", "column_A", "column_B") if key in config.kwargs]
        expectation = f"{suite.name + ': ' if suite.is_named else ''}{config.type}({', '.join(columns)})"
        failed = result.result.get("unexpected_index_list") or ()
        # One that is not met names its rows; anything else is a defect of the suite, and counts as not evaluated.
        if _raised(result.exception_info) or bool(failed) == bool(result.success):
            raise GateFailed(
                f"The gate {self._gate} could not evaluate {expectation}: the frame's columns are not of the shape or "
                "type that the suite expects. Nothing of the run becomes visible; report this as a defect"
            )
        return Judged(expectation, rows, tuple(int(row) for row in failed))


def _raised(info: Any) -> bool:
    """Great Expectations gives one of these, or one for each metric, as a dict of dicts."""
    if not info:
        return False
    if "raised_exception" in info:
        return bool(info["raised_exception"])
    return any(bool(one.get("raised_exception")) for one in info.values())
