"""The closest rows of each row: exact where all are looked at, nearly so where they are not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mergeit_async.filtering import neighbours as module
from mergeit_async.filtering import partition
from mergeit_async.filtering.neighbours import find_neighbours, smooth_vectors
from mergeit_async.filtering.partition import split_rows
from mergeit_async.filtering.similarity import snap_to_grid


def unit_vectors(n: int, dim: int, seed: int) -> NDArray[np.float32]:
    numbers = np.random.default_rng(seed).normal(size=(n, dim))
    return (numbers / np.linalg.norm(numbers, axis=1, keepdims=True)).astype(np.float32)


def all_cosines(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    grid = snap_to_grid(vectors).astype(np.float64)
    return grid @ grid.T


@pytest.fixture
def many_small_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bounds of a large dataset, made small."""
    monkeypatch.setattr(partition, "CELL_ROWS", 100)
    monkeypatch.setattr(module, "CANDIDATES", 300)
    monkeypatch.setattr(module, "LEAST_ENTRIES", 0)


def test_few_rows_are_all_neighbours_by_falling_cosine() -> None:
    vectors = unit_vectors(50, 8, seed=0)
    found = find_neighbours(vectors, seed=0)
    cosines = all_cosines(vectors)
    for row in range(50):
        assert sorted([row, *found.rows[row]]) == list(range(50))
        assert found.cosines[row].tolist() == sorted(np.delete(cosines[row], row))[::-1]
        assert found.cosines[row].tolist() == cosines[row, found.rows[row]].tolist()


def test_of_many_rows_the_closest_are_found() -> None:
    vectors = unit_vectors(3000, 8, seed=1)
    found = find_neighbours(vectors, seed=0)
    cosines = all_cosines(vectors)
    np.fill_diagonal(cosines, -2)
    number = found.rows.shape[1]
    assert number == 174
    best = -np.sort(-cosines, axis=1)[:, :number]
    # Which is 174th may be decided by a coarser cosine.
    assert np.abs(found.cosines - best).max() < 2e-3
    assert (found.cosines[:, :8] == best[:, :8]).mean() > 0.999


@pytest.mark.usefixtures("many_small_cells")
def test_where_only_near_cells_are_looked_at_most_of_the_closest_are_found() -> None:
    vectors = unit_vectors(1500, 4, seed=2)
    found = find_neighbours(vectors, seed=0)
    cosines = all_cosines(vectors)
    np.fill_diagonal(cosines, -2)
    closest = np.argsort(-cosines, axis=1)[:, :32]
    shared = [len({*near} & {*best}) for near, best in zip(found.rows, closest, strict=True)]
    assert found.rows.shape == (1500, 32)
    assert not (found.rows == np.arange(1500)[:, np.newaxis]).any()
    assert np.mean(shared) > 0.85 * 32


@pytest.mark.usefixtures("many_small_cells")
def test_equal_rows_prefer_those_that_follow_them() -> None:
    found = find_neighbours(np.repeat(unit_vectors(1, 4, seed=0), 90, axis=0), seed=0)
    assert found.rows[5].tolist() == list(range(6, 38))
    assert found.rows[80].tolist() == [*range(81, 90), *range(23)]


@pytest.mark.usefixtures("many_small_cells")
def test_more_equal_rows_than_a_cell_holds_still_have_their_neighbours() -> None:
    found = find_neighbours(np.repeat(unit_vectors(1, 4, seed=0), 700, axis=0), seed=0)
    assert found.rows.shape == (700, 32)
    assert (found.cosines > 0.999).all()


@pytest.mark.parametrize("n", [0, 1, 2])
def test_rows_that_are_alone_have_as_many_neighbours_as_there_are(n: int) -> None:
    found = find_neighbours(unit_vectors(n, 4, seed=0), seed=0)
    assert found.rows.shape == found.cosines.shape == (n, max(0, n - 1))


def test_only_the_closest_are_kept_when_fewer_are_wanted() -> None:
    found = find_neighbours(unit_vectors(20, 4, seed=0), seed=0)
    assert found.closest(3).rows.tolist() == found.rows[:, :3].tolist()
    assert found.closest(99).cosines.tolist() == found.cosines.tolist()


def test_smoothing_turns_a_row_towards_its_neighbours() -> None:
    vectors = np.array([[1, 0], [0.6, 0.8], [0, 1], [-1, 0]], np.float32)
    near = find_neighbours(vectors, seed=0).closest(1)

    smoothed = smooth_vectors(vectors, near)

    half = np.sqrt(0.2)
    assert np.allclose(smoothed[0], [2 * half, half], atol=1e-4)
    assert np.allclose(np.linalg.norm(smoothed, axis=1), 1)


def test_a_row_whose_neighbour_is_its_opposite_stays() -> None:
    vectors = np.array([[1, 0], [-1, 0]], np.float32)
    smoothed = smooth_vectors(vectors, find_neighbours(vectors, seed=0))
    assert smoothed.tolist() == vectors.tolist()


@pytest.mark.usefixtures("many_small_cells")
def test_cells_hold_every_row_once_and_no_cell_too_many() -> None:
    for points in (unit_vectors(950, 4, seed=3), np.zeros((950, 4), np.float32)):
        cells = split_rows(points, seed=0)
        assert sorted(np.concatenate(cells).tolist()) == list(range(950))
        assert all(0 < len(cell) <= 100 for cell in cells)
