"""The watch as a program of the local stack: outside Airflow, with an account that may only read."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping

from concordance.errors import Misconfigured, Unavailable
from concordance.local import airflow
from concordance.local.program import Program
from concordance.local.state import State
from concordance.settings import Settings

NAME = "watch"


def program(settings: Settings, state: State, secrets: Mapping[str, str]) -> Program:
    """The watch. Pure: nothing is made or started."""
    return Program(
        name=NAME,
        argv=(sys.executable, "-m", "concordance", "watch"),
        directory=state.path,
        environment={**airflow.product_settings(settings), **airflow.secret_settings(settings, secrets)},
        # The tables of the alerts are made there.
        needs=(airflow.PREPARE,),
        ready=functools.partial(check_watch, settings),
    )


def check_watch(settings: Settings) -> None:
    """Returns when a round of the watch ended lately. Raises `Unavailable` otherwise."""
    from concordance.watching.watch import check

    try:
        check(settings)
    except Misconfigured as error:
        raise Unavailable(str(error)) from None
