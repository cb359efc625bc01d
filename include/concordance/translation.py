"""What the translations of the drivers' errors share: a table by class, and the search in it.

Each driver has a table in the room where it is used. A test enumerates the driver's exception classes by reflection and
compares them with the table, so that a new one is decided there, not met in production.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

Rule = TypeVar("Rule")


def by_class(error: BaseException, rules: Mapping[type[BaseException], Rule], *, otherwise: Rule) -> Rule:
    """The rule of the error's class, or of its nearest base that stands in the table."""
    return next((rules[base] for base in type(error).__mro__ if base in rules), otherwise)
