"""Groups of similar rows: what holds for any vectors, and the order pairs are taken in."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mergeit_async.filtering import pair
from mergeit_async.filtering.neighbours import find_neighbours
from mergeit_async.filtering.pair import PairedGroup, first_match
from mergeit_async.filtering.similarity import compare_rows, snap_to_grid


def best_first(
    vectors: NDArray[np.float32],
    threshold: float,
    max_size: int,
    kept: NDArray[np.bool_] | None = None,
) -> list[PairedGroup]:
    """Pairs of near rows; in data as small as here, all rows are near one another."""
    neighbours = find_neighbours(vectors, seed=0)
    return pair.best_first(vectors, neighbours, threshold, max_size, kept)


BOTH = pytest.mark.parametrize("pair_rows", [best_first, first_match])


def unit_vectors(n: int, dim: int, seed: int) -> NDArray[np.float32]:
    numbers = np.random.default_rng(seed).normal(size=(n, dim))
    return (numbers / np.linalg.norm(numbers, axis=1, keepdims=True)).astype(np.float32)


def on_circle(*degrees: float) -> NDArray[np.float32]:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def exact_cosines(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    return compare_rows(snap_to_grid(vectors.astype(np.float64)), np.arange(len(vectors)))


def members(groups: list[PairedGroup]) -> list[tuple[int, ...]]:
    return [group.members for group in groups]


@BOTH
@settings(deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(0, 50),
    dim=st.integers(1, 8),
    threshold=st.floats(-1, 1),
    max_size=st.integers(1, 6),
)
def test_groups_are_disjoint_small_and_alike_throughout(
    pair_rows, seed: int, n: int, dim: int, threshold: float, max_size: int
) -> None:
    vectors = unit_vectors(n, dim, seed)
    cosines = exact_cosines(vectors)

    groups = pair_rows(vectors, threshold, max_size)

    grouped = [row for group in groups for row in group.members]
    assert len(grouped) == len(set(grouped))
    assert members(groups) == sorted(members(groups))
    for group in groups:
        assert 2 <= len(group.members) <= max_size
        assert list(group.members) == sorted(group.members)
        lowest = min(cosines[pair] for pair in combinations(group.members, 2))
        assert lowest > threshold
        assert group.similarity == min(1.0, lowest)
        assert math.isfinite(group.similarity)


@BOTH
@given(seed=st.integers(0, 10_000), n=st.integers(0, 50), threshold=st.floats(-0.5, 1))
def test_no_two_rows_left_over_could_have_been_a_pair(
    pair_rows, seed: int, n: int, threshold: float
) -> None:
    vectors = unit_vectors(n, 4, seed)

    groups = pair_rows(vectors, threshold, 2)

    left = sorted(set(range(n)) - {row for group in groups for row in group.members})
    cosines = exact_cosines(vectors)
    assert not any(cosines[pair] > threshold for pair in combinations(left, 2))


@given(
    seed=st.integers(0, 10_000),
    n=st.integers(2, 40),
    threshold=st.floats(-0.5, 0.9),
    max_size=st.integers(2, 5),
)
def test_best_first_does_not_depend_on_the_order_of_the_rows(
    seed: int, n: int, threshold: float, max_size: int
) -> None:
    vectors = unit_vectors(n, 12, seed)
    distances = exact_cosines(vectors)[np.triu_indices(n, k=1)]
    assume(len(set(distances.tolist())) == len(distances))
    order = np.random.default_rng(seed).permutation(n)

    shuffled = best_first(vectors[order], threshold, max_size)

    restored = sorted(tuple(sorted(order[list(group.members)].tolist())) for group in shuffled)
    assert restored == members(best_first(vectors, threshold, max_size))


def test_best_first_takes_the_closest_pair_first() -> None:
    vectors = on_circle(0, 30, 40, 75)

    assert members(best_first(vectors, 0.5, 2)) == [(1, 2)]
    assert members(best_first(vectors, 0.2, 2)) == [(0, 3), (1, 2)]


def test_first_match_takes_the_first_row_and_the_next_that_is_close_enough() -> None:
    vectors = on_circle(0, 75, 30, 40)

    assert members(first_match(vectors, 0.5, 2)) == [(0, 2), (1, 3)]


def test_a_third_row_joins_only_if_it_is_close_to_both() -> None:
    vectors = on_circle(0, 40, 80)

    assert members(first_match(vectors, 0.5, 3)) == [(0, 1)]
    assert members(best_first(vectors, 0.5, 3)) == [(0, 1)]
    assert members(best_first(on_circle(0, 20, 40), 0.5, 3)) == [(0, 1, 2)]


def test_best_first_joins_two_pairs_where_all_four_are_close() -> None:
    vectors = on_circle(0, 2, 20, 21)

    assert members(best_first(vectors, 0.9, 4)) == [(0, 1, 2, 3)]
    assert members(best_first(vectors, 0.9, 3)) == [(0, 1), (2, 3)]


@BOTH
def test_a_cosine_equal_to_the_threshold_is_not_above_it(pair_rows) -> None:
    vectors = np.array([[1.0, 0.0], [0.5, 0.75**0.5]], dtype=np.float32)

    assert pair_rows(vectors, 0.5, 2) == []
    assert members(pair_rows(vectors, 0.4999, 2)) == [(0, 1)]


@BOTH
def test_equal_rows_pair_up_in_their_order(pair_rows) -> None:
    vectors = np.repeat(on_circle(33), 5, axis=0)

    assert members(pair_rows(vectors, 0.55, 2)) == [(0, 1), (2, 3)]


@BOTH
def test_equal_rows_pair_up_in_a_giant_topic_too(pair_rows) -> None:
    vectors = np.repeat(on_circle(33), 4200, axis=0)

    groups = pair_rows(vectors, 0.55, 2)

    assert members(groups) == [(row, row + 1) for row in range(0, 4200, 2)]


def test_a_giant_topic_loses_little_to_its_bound_on_pairs() -> None:
    vectors = unit_vectors(4200, 6, seed=0)
    cosines = exact_cosines(vectors)
    np.fill_diagonal(cosines, -1.0)

    groups = best_first(vectors, 0.9, 2)

    closest = np.unravel_index(np.argmax(cosines), cosines.shape)
    assert tuple(sorted(int(row) for row in closest)) in members(groups)
    # With all pairs at hand there are 1,974 of a mean of 0.9624.
    assert len(groups) > 1950
    assert np.mean([group.similarity for group in groups]) > 0.962


def test_rows_that_are_not_kept_join_the_kept_but_not_one_another() -> None:
    vectors = on_circle(0, 20, 21, 60, 62)
    kept = np.array([True, False, False, False, False])

    assert members(best_first(vectors, 0.8, 2, kept)) == [(0, 1)]
    assert members(best_first(vectors, 0.8, 2)) == [(1, 2), (3, 4)]
    assert members(best_first(vectors, 0.8, 3, kept)) == [(0, 1, 2)]


def test_kept_rows_left_over_pair_up_with_one_another() -> None:
    vectors = on_circle(0, 20, 21)

    assert members(best_first(vectors, 0.8, 2, np.array([True, True, False]))) == [(1, 2)]
    assert members(best_first(vectors, 0.8, 2, np.array([True, True, True]))) == [(1, 2)]
    assert members(best_first(on_circle(0, 20, 90), 0.8, 2, np.ones(3, bool))) == [(0, 1)]
