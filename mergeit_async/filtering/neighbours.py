"""Which rows are near which: for each row its closest others, over all topics.

Time and memory have a bound: rows are compared with those of the nearest cells of a rough
partition, not with all. The arithmetic is exact (see `similarity`), so one input has one result.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mergeit_async.filtering.partition import split_rows
from mergeit_async.filtering.similarity import snap_to_grid

NEIGHBOURS = 32
# Small datasets get more neighbours a row: all others up to 724 rows.
LEAST_ENTRIES = 1 << 19
# So many rows of the nearest cells are looked at, and those of one cell more.
CANDIDATES = 16_384
BLOCK_ENTRIES = 1 << 22
# Rows on this grid have float32 dot products that are exact: below 2 and multiples of 2⁻²².
COARSE_STEP = 2.0**-11


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Each row's closest others, the closest first.

    `rows` are their indices, (n_rows, k) int32, and `cosines` (n_rows, k) float64. Being near is
    not mutual: a row may be among the closest of one that is not among its own.
    """

    rows: NDArray[np.int32]
    cosines: NDArray[np.float64]

    def closest(self, number: int) -> Neighbours:
        """At most so many of each row."""
        return Neighbours(self.rows[:, :number], self.cosines[:, :number])


def find_neighbours(vectors: NDArray[np.float32], seed: int) -> Neighbours:
    """The closest rows of each of the (n_rows, dim) unit `vectors`, at least 32 where there are.

    Which they are is decided by cosines of coarser vectors, some 2⁻¹² off, and their order by the
    exact ones. Equal rows prefer those that follow them, else all would want the same few. Beyond
    16,384 rows only so many of the nearest cells are looked at.
    """
    n = len(vectors)
    number = min(max(0, n - 1), max(NEIGHBOURS, LEAST_ENTRIES // max(1, n)))
    found = Neighbours(np.empty((n, number), np.int32), np.empty((n, number)))
    if number == 0:
        return found
    grid = snap_to_grid(vectors)
    coarse: NDArray[np.float32] = np.rint(vectors / COARSE_STEP) * np.float32(COARSE_STEP)
    cells = split_rows(grid, seed)
    for cell, candidates in zip(cells, _surroundings(grid, cells), strict=True):
        others = coarse[candidates]
        for rows in _blocks(cell, len(candidates)):
            cosines = coarse[rows] @ others.T
            cosines[rows[:, np.newaxis] == candidates] = -np.inf
            near = candidates[_closest(cosines, rows, candidates, n, number)]
            found.rows[rows], found.cosines[rows] = _rank(grid, rows, near, n)
    return found


def smooth_vectors(vectors: NDArray[np.float32], neighbours: Neighbours) -> NDArray[np.float32]:
    """Each of the (n_rows, dim) unit `vectors` as the direction of the mean of it and its near.

    What lies between two topics moves into the denser, so the border depends less on single rows.
    """
    grid = snap_to_grid(vectors)
    sums = grid.astype(np.float64)
    for column in neighbours.rows.T:
        sums += grid[column]
    lengths = np.sqrt(np.square(sums).sum(axis=1, keepdims=True))
    # Opposite rows may cancel out; such a row stays where it is.
    smoothed: NDArray[np.float32] = np.divide(
        sums, lengths, out=grid.astype(np.float64), where=lengths > 0
    ).astype(np.float32)
    return smoothed


def _surroundings(
    grid: NDArray[np.float32], cells: list[NDArray[np.int64]]
) -> Iterator[NDArray[np.int64]]:
    """For each cell its rows and those of the nearest cells, rising: 16,384 or one cell more."""
    means = np.stack([grid[cell].mean(axis=0, dtype=np.float64) for cell in cells])
    centroids = snap_to_grid(means)
    squares = np.square(centroids).sum(axis=1)
    sizes = np.array([len(cell) for cell in cells])
    for at, centroid in enumerate(centroids):
        distances = squares - 2.0 * (centroids @ centroid)
        distances[at] = -np.inf
        order = np.argsort(distances, kind="stable")
        enough = int(np.searchsorted(np.cumsum(sizes[order]), CANDIDATES)) + 1
        near = order[:enough]
        yield np.sort(np.concatenate([cells[number] for number in near]))


def _closest(
    cosines: NDArray[np.float32],
    rows: NDArray[np.int64],
    candidates: NDArray[np.int64],
    n: int,
    number: int,
) -> NDArray[np.int64]:
    """The columns of each row's closest candidates, rising: (len(rows), number)."""
    least = np.partition(cosines, -number, axis=1)[:, -number, np.newaxis]
    is_near = cosines >= least
    # The value at the border is the same on every machine; which of its ties come first is not.
    for at in np.flatnonzero(np.count_nonzero(is_near, axis=1) > number):
        tied = np.flatnonzero(cosines[at] == least[at])
        following = np.argsort((candidates[tied] - rows[at]) % n, kind="stable")
        wanted = number - np.count_nonzero(cosines[at] > least[at])
        is_near[at, tied[following[wanted:]]] = False
    return np.nonzero(is_near)[1].reshape(len(rows), number)


def _rank(
    grid: NDArray[np.float32], rows: NDArray[np.int64], near: NDArray[np.int64], n: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The `near` of each row by falling exact cosine, and these cosines."""
    exact = np.empty(near.shape)
    for at, row in enumerate(rows):
        exact[at] = grid[near[at]].astype(np.float64) @ grid[row].astype(np.float64)
    # The last key is the first to sort by.
    order = np.lexsort(((near - rows[:, np.newaxis]) % n, -exact), axis=1)
    return np.take_along_axis(near, order, axis=1), np.take_along_axis(exact, order, axis=1)


def _blocks(rows: NDArray[np.int64], width: int) -> Iterator[NDArray[np.int64]]:
    step = max(1, BLOCK_ENTRIES // width)
    for start in range(0, len(rows), step):
        yield rows[start : start + step]
