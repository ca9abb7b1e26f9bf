"""Thinning over all topics: the greedy choice itself, and what happens at its edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mergeit_async.filtering.cover import cover_rows
from mergeit_async.filtering.neighbours import NEIGHBOURS, find_neighbours
from mergeit_async.filtering.similarity import snap_to_grid


def unit_vectors(n: int, dim: int, seed: int) -> NDArray[np.float32]:
    numbers = np.random.default_rng(seed).normal(size=(n, dim))
    return (numbers / np.linalg.norm(numbers, axis=1, keepdims=True)).astype(np.float32)


def cover_plainly(vectors: NDArray[np.float32], budget: int) -> list[int]:
    """Greedy facility location, each gain computed anew."""
    grid = snap_to_grid(vectors).astype(np.float64)
    similarities = np.maximum(grid @ grid.T, 0.0)
    np.fill_diagonal(similarities, 1.0)
    covered = np.zeros(len(vectors))
    chosen: list[int] = []
    for _ in range(budget):
        gains = np.maximum(similarities - covered, 0.0).sum(axis=1)
        gains[chosen] = -1.0
        chosen.append(int(np.argmax(gains)))
        covered = np.maximum(covered, similarities[chosen[-1]])
    return chosen


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, NEIGHBOURS), dim=st.integers(2, 6))
def test_where_all_rows_are_near_the_choice_is_that_of_plain_greedy(
    seed: int, n: int, dim: int
) -> None:
    vectors = unit_vectors(n, dim, seed)
    assert cover_rows(find_neighbours(vectors, 0), n).tolist() == cover_plainly(vectors, n)


def test_a_crowded_corner_gets_no_more_rows_than_it_needs() -> None:
    crowd = np.repeat(unit_vectors(1, 8, seed=0), 60, axis=0)
    loners = unit_vectors(9, 8, seed=5)
    vectors = np.concatenate([crowd, loners])

    chosen = cover_rows(find_neighbours(vectors, 0), 12)

    assert set(range(60, 69)) <= set(chosen.tolist())


def test_equal_rows_are_chosen_in_their_order() -> None:
    vectors = np.repeat(unit_vectors(1, 4, seed=0), 20, axis=0)
    assert cover_rows(find_neighbours(vectors, 0), 3).tolist() == [0, 1, 2]


@pytest.mark.parametrize(("n", "budget"), [(0, 5), (1, 5), (3, 0), (3, 9)])
def test_a_budget_beyond_the_rows_chooses_them_all(n: int, budget: int) -> None:
    chosen = cover_rows(find_neighbours(unit_vectors(n, 4, seed=0), 0), budget)
    assert sorted(chosen.tolist()) == list(range(min(n, budget)))
