"""Pieces of a sequence: nothing lost, nothing out of order, none too long or too heavy."""

from __future__ import annotations

from itertools import chain, pairwise

from hypothesis import given
from hypothesis import strategies as st

from concordance.slices import slices, weighed_slices

WEIGHTS = st.lists(st.integers(0, 20))
SIZES = st.integers(1, 6)


@given(WEIGHTS, SIZES)
def test_slices_hold_every_row_in_order_and_are_never_too_long(rows: list[int], size: int) -> None:
    found = list(slices(rows, size))
    assert list(chain.from_iterable(found)) == rows
    assert all(0 < len(each) <= size for each in found)


@given(WEIGHTS, SIZES, st.integers(1, 30))
def test_no_weighed_slice_is_too_long_or_too_heavy_unless_one_row_is(rows: list[int], size: int, heaviest: int) -> None:
    found = list(weighed_slices(rows, lambda row: row, size=size, heaviest=heaviest))
    assert list(chain.from_iterable(found)) == rows
    assert all(0 < len(each) <= size for each in found)
    assert all(len(each) == 1 or sum(each) <= heaviest for each in found)


@given(WEIGHTS, SIZES, st.integers(1, 30))
def test_a_weighed_slice_ends_only_where_the_next_row_does_not_fit(rows: list[int], size: int, heaviest: int) -> None:
    found = list(weighed_slices(rows, lambda row: row, size=size, heaviest=heaviest))
    for one, following in pairwise(found):
        assert len(one) == size or sum(one) + following[0] > heaviest
