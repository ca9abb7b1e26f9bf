"""Principal components that keep 95 % of the variance, down to a single row."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mergeit_async.filtering.reduce import reduce_vectors


def unit_vectors(n: int, dim: int, seed: int = 0) -> NDArray[np.float32]:
    # Falling scales give the directions different weight, as in real embeddings.
    numbers = np.random.default_rng(seed).normal(size=(n, dim)) / np.arange(1, dim + 1)
    return (numbers / np.linalg.norm(numbers, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(("n", "dim"), [(500, 40), (20, 40), (3, 40)])
def test_the_fewest_components_with_95_percent_of_the_variance_are_kept(n: int, dim: int) -> None:
    vectors = unit_vectors(n, dim)
    variances = np.linalg.svd(vectors - vectors.mean(axis=0), compute_uv=False) ** 2
    enough = int(np.searchsorted(np.cumsum(variances) / variances.sum(), 0.95)) + 1

    points = reduce_vectors(vectors)

    assert points.shape == (n, enough)
    assert points.dtype == np.float32
    assert np.square(points).sum() >= 0.9499 * variances.sum()


def test_distances_along_the_kept_components_are_those_of_the_vectors() -> None:
    vectors = unit_vectors(2, 10)

    points = reduce_vectors(vectors)

    assert points.shape == (2, 1)
    assert abs(points[0] - points[1]) == pytest.approx(np.linalg.norm(vectors[0] - vectors[1]))


def test_the_same_vectors_give_the_same_points() -> None:
    vectors = unit_vectors(300, 30)

    assert np.array_equal(reduce_vectors(vectors), reduce_vectors(vectors.copy()))


@pytest.mark.parametrize("n", [1, 2, 50])
def test_rows_that_are_all_equal_become_one_point(n: int) -> None:
    vectors = np.repeat(unit_vectors(1, 12), n, axis=0)

    assert np.array_equal(reduce_vectors(vectors), np.zeros((n, 1), dtype=np.float32))


def test_rows_that_differ_by_rounding_only_become_one_point() -> None:
    vectors = np.repeat(unit_vectors(1, 12), 50, axis=0)
    noise = np.random.default_rng(0).normal(0, 1e-7, vectors.shape).astype(np.float32)

    assert not reduce_vectors(vectors + noise).any()


def test_equal_rows_in_half_precision_become_one_point() -> None:
    vectors = np.repeat(unit_vectors(1, 12).astype(np.float16), 50, axis=0)

    assert not reduce_vectors(vectors.astype(np.float32)).any()
