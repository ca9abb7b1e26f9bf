"""Rounds of k-means in exact arithmetic, and rough cells of a bounded size made by two of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from mergeit_async.filtering.similarity import snap_to_grid

CELL_ROWS = 4096
CELL_ROUNDS = 2
BLOCK_ROWS = 4096


def split_rows(points: NDArray[np.float32], seed: int) -> list[NDArray[np.int64]]:
    """The rows of (n_rows, k) `points` on the grid in cells of like rows, at most 4,096 in each.

    Some sqrt(n / 2) rows drawn by `seed` are the first centres. Up to 4,096 rows are one cell.
    """
    n = len(points)
    if n <= CELL_ROWS:
        return [np.arange(n)]
    drawn = np.random.default_rng(seed).permutation(n)[: math.isqrt(n // 2)]
    centres = points[np.sort(drawn)].astype(np.float64)
    labels = nearest_centre(points, centres)
    for _ in range(CELL_ROUNDS):
        centres = mean_points(points, labels, centres)
        labels = nearest_centre(points, centres)
    return [part for cell in split_labels(labels) if len(cell) for part in _cut(cell)]


def split_labels(labels: NDArray[np.integer[Any]]) -> list[NDArray[np.int64]]:
    """The rows of each label from 0 on, rising; (n_rows,) `labels` of none are no parts."""
    if not len(labels):
        return []
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.cumsum(np.bincount(labels))[:-1])


def nearest_centre(points: NDArray[np.float32], centres: NDArray[np.float64]) -> NDArray[np.intp]:
    """The centre closest to each of the (n_rows, k) `points`, (n_rows,); a tie: the first."""
    half_squares = np.square(centres).sum(axis=1) / 2
    nearest = np.empty(len(points), dtype=np.intp)
    for block in _blocks(len(points)):
        nearest[block] = np.argmax(points[block] @ centres.T - half_squares, axis=1)
    return nearest


def mean_points(
    points: NDArray[np.float32], labels: NDArray[np.intp], centres: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The mean of each topic's points, on the grid; an empty topic keeps its centre."""
    sums = np.zeros_like(centres)
    for block in _blocks(len(points)):
        label = labels[block]
        shape = (len(centres), len(label))
        membership = csr_array((np.ones(len(label)), (label, np.arange(len(label)))), shape=shape)
        sums += membership @ points[block].astype(np.float64)
    sizes = np.bincount(labels, minlength=len(centres))[:, np.newaxis]
    return np.where(sizes > 0, snap_to_grid(sums / np.maximum(sizes, 1)), centres)


def _cut(cell: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return np.array_split(cell, -(-len(cell) // CELL_ROWS))


def _blocks(n: int) -> Iterator[slice]:
    for start in range(0, n, BLOCK_ROWS):
        yield slice(start, start + BLOCK_ROWS)
