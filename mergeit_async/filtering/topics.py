"""Topics: k-means over the reduced points, numbered in an order of their own."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.cluster import kmeans_plusplus

MAX_ROUNDS = 50
SEEDING_ROWS = 20_000
BLOCK_ROWS = 4096


def default_topic_count(n: int) -> int:
    """The paper's number of topics for `n` rows: the floor of sqrt(n / 2), at least 1."""
    return max(1, math.isqrt(n // 2))


def assign_topics(points: NDArray[np.float32], count: int, seed: int) -> NDArray[np.int32]:
    """The topic of each of the (n_rows, k) `points`, (n_rows,) int32, at most `count` of them.

    Topics are numbered by their first row, so row 0 is of topic 0. Where there are fewer distinct
    points than topics, equal points share a topic and there are fewer topics.

    Lloyd's rounds on one k-means++ start; ten starts take ten times as long for 0.2 % less
    inertia on 17,387 rows. The rounds are ours, as scikit-learn's add up the centres in whatever
    order its threads finish (four threads gave three results in four runs) and warn on near-equal
    points.
    """
    if len(points) == 0:
        return np.empty(0, dtype=np.int32)
    centres = _seed_centres(points, min(count, len(points)), seed)
    labels = _nearest_centre(points, centres)
    for _ in range(MAX_ROUNDS):
        centres = _means(points, labels, centres)
        previous, labels = labels, _nearest_centre(points, centres)
        if np.array_equal(previous, labels):
            break
    return _number_by_first_row(labels)


def _seed_centres(points: NDArray[np.float32], count: int, seed: int) -> NDArray[np.float32]:
    """k-means++ on a sample: its time is rows × topics, most of the total on large datasets."""
    size = min(len(points), max(SEEDING_ROWS, count))
    sample = np.random.default_rng(seed).choice(len(points), size, replace=False)
    centres, _ = kmeans_plusplus(points[np.sort(sample)], count, random_state=seed)
    return np.asarray(centres, dtype=np.float32)


def _nearest_centre(points: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.intp]:
    half_squares = np.square(centres).sum(axis=1) / 2
    parts = [np.argmax(block @ centres.T - half_squares, axis=1) for block in _blocks(points)]
    return np.concatenate(parts)


def _blocks(points: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(points), BLOCK_ROWS):
        yield points[start : start + BLOCK_ROWS]


def _means(
    points: NDArray[np.float32], labels: NDArray[np.intp], centres: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The mean of each topic's points; an empty topic keeps its centre."""
    n, count = len(points), len(centres)
    membership = csr_array((np.ones(n, dtype=np.float32), (labels, np.arange(n))), shape=(count, n))
    sizes = np.bincount(labels, minlength=count)[:, np.newaxis]
    means = (membership @ points) / np.maximum(sizes, 1).astype(np.float32)
    return np.where(sizes > 0, means, centres)


def _number_by_first_row(labels: NDArray[np.intp]) -> NDArray[np.int32]:
    found, first_rows, indices = np.unique(labels, return_index=True, return_inverse=True)
    number = np.empty(len(found), dtype=np.int32)
    number[np.argsort(first_rows)] = np.arange(len(found), dtype=np.int32)
    return number[indices]
