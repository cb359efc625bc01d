"""The cuts of a long section: limits, determinism, and how far an edit reaches."""

from __future__ import annotations

from itertools import accumulate, pairwise

from hypothesis import given
from hypothesis import strategies as st

from concordance.chunking.boundaries import cut_points, local_minima

RADIUS, LIMIT = 60, 200

weights_and_ranks = st.lists(
    st.tuples(st.integers(1, LIMIT), st.tuples(st.integers(0, 4), st.integers(0, 2**32 - 1))), min_size=1, max_size=400
)


def cuts_of(atoms: list[tuple[int, tuple[int, int]]]) -> list[int]:
    weights, ranks = [weight for weight, _ in atoms], [rank for _, rank in atoms]
    return cut_points(weights, ranks, radius=RADIUS, limit=LIMIT)


@given(weights_and_ranks)
def test_pieces_cover_all_atoms_and_keep_the_limit(atoms: list[tuple[int, tuple[int, int]]]):
    cuts = cuts_of(atoms)
    assert cuts[0] == 0
    assert cuts[-1] == len(atoms)
    for start, end in pairwise(cuts):
        assert start < end
        assert sum(weight for weight, _ in atoms[start:end]) <= LIMIT


@given(weights_and_ranks, st.data())
def test_an_edit_makes_or_ends_a_minimum_only_within_the_radius(
    atoms: list[tuple[int, tuple[int, int]]], data: st.DataObject
):
    """What lies farther stays: counted in tokens from the front before the edit, from the end after it."""
    place = data.draw(st.integers(0, len(atoms) - 1))
    fresh = data.draw(st.tuples(st.integers(1, LIMIT), st.tuples(st.integers(0, 4), st.integers(0, 2**32 - 1))))
    edited = [*atoms[:place], fresh, *atoms[place + 1 :]]
    sides = []
    for row in (atoms, edited):
        at = [0, *accumulate(weight for weight, _ in row)]
        minima = local_minima(at, [rank for _, rank in row], RADIUS)
        before = [at[number] for number in minima if at[number] <= at[place] - RADIUS]
        after = [at[-1] - at[number] for number in minima if at[number] >= at[place + 1] + RADIUS]
        sides.append((before, after))
    assert sides[0] == sides[1]


def test_a_row_within_the_limit_is_one_piece():
    assert cut_points([50, 50, 100], [(0, 1), (0, 2), (0, 3)], radius=RADIUS, limit=LIMIT) == [0, 3]


def test_structure_goes_before_the_hash():
    """A paragraph's boundary is taken although a sentence's hashes lower."""
    weights = [30] * 8
    ranks = [(2, 1)] * 8
    ranks[4] = (0, 999)
    assert cut_points(weights, ranks, radius=RADIUS, limit=LIMIT) == [0, 4, 8]


def test_equal_atoms_without_end_are_cut_all_the_same():
    cuts = cut_points([10] * 10_000, [(1, 7)] * 10_000, radius=RADIUS, limit=LIMIT)
    assert all(end - start <= LIMIT // 10 for start, end in pairwise(cuts))


def test_one_atom_above_the_limit_is_a_piece_of_its_own():
    assert cut_points([300, 10], [(0, 1), (0, 2)], radius=RADIUS, limit=LIMIT) == [0, 1, 2]
