"""Groups of similar rows: the rows that are to be merged into one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mergeit_async.filtering.neighbours import Neighbours
from mergeit_async.filtering.similarity import compare_rows, lowest_cosine, snap_to_grid

BLOCK_ENTRIES = 1 << 22


@dataclass(frozen=True, slots=True)
class PairedGroup:
    """Rows to merge: their indices in row order, and the lowest cosine between any two."""

    members: tuple[int, ...]
    similarity: float


def best_first(
    vectors: NDArray[np.float32],
    neighbours: Neighbours,
    threshold: float,
    max_size: int,
    kept: NDArray[np.bool_] | None = None,
) -> list[PairedGroup]:
    """Disjoint groups of the (n_rows, dim) unit `vectors`, the most similar pairs first.

    Pairs of near rows of a cosine above `threshold` are taken in falling order, ties by index. A
    pair joins the groups its two rows are in if that makes at most `max_size` rows with every two
    above the threshold; with two rows a group, each row is simply used once. With `kept`, (n_rows,)
    bool, only pairs with such a row count: the others join them, but not one another. Groups come
    in the order of their first rows.
    """
    grid = snap_to_grid(vectors)
    group_of = [[row] for row in range(len(grid))]
    for first, second in _falling_pairs(neighbours, threshold, kept):
        left, right = group_of[first], group_of[second]
        if left is right or len(left) + len(right) > max_size:
            continue
        if _all_above(grid, left, right, threshold):
            left.extend(right)
            for row in right:
                group_of[row] = left
    groups = (sorted(group) for row, group in enumerate(group_of) if row == min(group))
    return [_measure(grid, group) for group in groups if len(group) > 1]


def first_match(vectors: NDArray[np.float32], threshold: float, max_size: int) -> list[PairedGroup]:
    """Disjoint groups of the (n_rows, dim) unit `vectors` in the paper's order.

    The first unused row takes the unused rows after it with a cosine above `threshold`, in row
    order, until there are `max_size`. The published code compares them with the first row only;
    here every two rows of a group must be above the threshold, which is the same for pairs.
    Memory: 32 MB of similarities at a time.
    """
    grid = snap_to_grid(vectors.astype(np.float64))
    used = np.zeros(len(grid), dtype=np.bool_)
    groups = []
    for rows in _blocks(len(grid)):
        for row, cosines in zip(rows.tolist(), compare_rows(grid, rows), strict=True):
            if used[row]:
                continue
            near = np.flatnonzero((cosines > threshold) & ~used)
            members = _gather(grid, row, near[near > row].tolist(), threshold, max_size)
            if len(members) > 1:
                used[members] = True
                groups.append(_measure(grid, members))
    return groups


def _falling_pairs(
    neighbours: Neighbours, threshold: float, kept: NDArray[np.bool_] | None
) -> Iterator[tuple[int, int]]:
    """Pairs (lower, higher row) above the threshold by falling cosine, ties by index.

    Of equal pairs, two kept rows come last: merging them leaves fewer than were to be kept.
    """
    n = len(neighbours.rows)
    row, column = np.nonzero(neighbours.cosines > threshold)
    other, cosine = neighbours.rows[row, column].astype(np.int64), neighbours.cosines[row, column]
    code, index = np.unique(np.minimum(row, other) * n + np.maximum(row, other), return_index=True)
    (lower, higher), cosine = np.divmod(code, max(1, n)), cosine[index]
    if kept is None:
        kept = np.ones(n, dtype=np.bool_)
    counts = kept[lower] | kept[higher]
    # The last key is the first to sort by.
    order = np.lexsort((code, kept[lower] & kept[higher], -cosine))
    order = order[counts[order]]
    return zip(lower[order].tolist(), higher[order].tolist(), strict=True)


def _all_above(
    grid: NDArray[np.float32 | np.float64], left: list[int], right: list[int], threshold: float
) -> bool:
    # Two single rows are a pair already known to be above.
    if len(left) == len(right) == 1:
        return True
    cosines = grid[left].astype(np.float64) @ grid[right].astype(np.float64).T
    return bool((cosines > threshold).all())


def _gather(
    grid: NDArray[np.float64], row: int, near: list[int], threshold: float, max_size: int
) -> list[int]:
    members = [row]
    for candidate in near:
        if len(members) >= max_size:
            break
        if len(members) == 1 or _all_above(grid, members, [candidate], threshold):
            members.append(candidate)
    return members


def _measure(grid: NDArray[np.float32 | np.float64], members: list[int]) -> PairedGroup:
    rows = grid[members].astype(np.float64)
    return PairedGroup(tuple(members), lowest_cosine(rows, np.arange(len(members))))


def _blocks(n: int) -> Iterator[NDArray[np.int64]]:
    step = max(1, BLOCK_ENTRIES // max(1, n))
    for start in range(0, n, step):
        yield np.arange(start, min(start + step, n))
