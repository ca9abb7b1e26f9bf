"""Exact similarities: the same in any block, close to those of the vectors as given."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mergeit_async.filtering.similarity import (
    Metric,
    compare_rows,
    lowest_cosine,
    snap_to_grid,
)


def unit_vectors(n: int, dim: int, seed: int) -> NDArray[np.float64]:
    numbers = np.random.default_rng(seed).normal(size=(n, dim))
    return numbers / np.linalg.norm(numbers, axis=1, keepdims=True)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@given(seed=st.integers(0, 10_000), block=st.integers(1, 40))
def test_a_block_has_the_very_numbers_of_the_whole(metric: Metric, seed: int, block: int) -> None:
    grid = snap_to_grid(unit_vectors(41, 37, seed))

    whole = compare_rows(grid, np.arange(41), metric)
    part = compare_rows(grid, np.arange(41)[-block:], metric)

    assert np.array_equal(part, whole[-block:])
    assert np.array_equal(whole, whole.T)


def test_snapping_hardly_moves_a_cosine() -> None:
    vectors = unit_vectors(200, 384, seed=0)

    cosines = compare_rows(snap_to_grid(vectors), np.arange(200))

    assert np.abs(cosines - vectors @ vectors.T).max() < 1e-4


def test_euclidean_similarity_falls_with_the_distance_per_dimension() -> None:
    grid = np.array([[0.0, 0.0], [0.0, 0.5], [0.25, 0.0]])

    similarities = compare_rows(grid, np.array([0]), "euclidean")

    assert similarities[0] == pytest.approx([1.0, np.exp(-0.25), np.exp(-0.125)], abs=1e-9)


def test_the_lowest_cosine_is_that_of_the_pair_furthest_apart() -> None:
    grid = snap_to_grid(np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.75**0.5]]))

    assert lowest_cosine(grid, np.array([0, 2])) == 0.5
    assert lowest_cosine(grid, np.array([0, 1, 2])) == 0.0


def test_rounding_never_makes_a_cosine_above_one() -> None:
    grid = snap_to_grid(np.repeat(unit_vectors(200, 5, seed=0), 2, axis=0))
    raw = [compare_rows(grid, np.array([row]))[0, row + 1] for row in range(0, 400, 2)]

    assert max(raw) > 1.0
    assert max(lowest_cosine(grid, np.array([row, row + 1])) for row in range(0, 400, 2)) == 1.0
