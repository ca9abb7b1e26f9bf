"""Groups of similar rows inside one topic: the rows that are to be merged into one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mergeit_async.filtering.similarity import compare_rows, lowest_cosine, snap_to_grid

EXHAUSTIVE_ROWS = 4096
NEIGHBOURS = 32
BLOCK_ENTRIES = 1 << 22
# Less than any difference of two similarities, even a million times over.
TIE_BREAK = 2.0**-51


@dataclass(frozen=True, slots=True)
class PairedGroup:
    """Rows to merge: their indices in row order, and the lowest cosine between any two."""

    members: tuple[int, ...]
    similarity: float


def best_first(vectors: NDArray[np.float32], threshold: float, max_size: int) -> list[PairedGroup]:
    """Disjoint groups of the (n_rows, dim) unit `vectors`, the most similar pairs first.

    Pairs of a cosine above `threshold` are taken in falling order, ties by index. A pair joins the
    groups its two rows are in if that makes at most `max_size` rows with every two above the
    threshold; with two rows a group, each row is simply used once. Groups come in the order of
    their first rows.

    Memory: up to 4,096 rows, all pairs above the threshold; beyond, only the 32 closest rows of
    each row are considered, so at most 32 pairs a row, which loses up to 2 % of the groups.
    """
    grid = snap_to_grid(vectors.astype(np.float64))
    group_of = [[row] for row in range(len(grid))]
    for first, second in _falling_pairs(grid, threshold):
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


def _falling_pairs(grid: NDArray[np.float64], threshold: float) -> Iterator[tuple[int, int]]:
    """Pairs (lower, higher row) above the threshold by falling cosine, ties by index."""
    n = len(grid)
    codes, cosines = [np.empty(0, dtype=np.int64)], [np.empty(0)]
    for rows in _blocks(n):
        block = compare_rows(grid, rows)
        at, column = np.nonzero(_worth_pairing(block, rows, threshold))
        row = rows[at]
        codes.append(np.minimum(row, column) * n + np.maximum(row, column))
        cosines.append(block[at, column])
    code, index = np.unique(np.concatenate(codes), return_index=True)
    # Codes rise with the rows' indices, and a stable sort keeps that order inside a tie.
    order = np.argsort(-np.concatenate(cosines)[index], kind="stable")
    lower, higher = np.divmod(code[order], n)
    return zip(lower.tolist(), higher.tolist(), strict=True)


def _worth_pairing(
    cosines: NDArray[np.float64], rows: NDArray[np.int64], threshold: float
) -> NDArray[np.bool_]:
    """Which entries of a block are candidate pairs: all above the threshold, or the closest."""
    columns = np.arange(cosines.shape[1])
    above = cosines > threshold
    if len(columns) <= EXHAUSTIVE_ROWS:
        return above & (columns > rows[:, np.newaxis])
    above[np.arange(len(rows)), rows] = False
    for at in np.flatnonzero(above.sum(axis=1) > NEIGHBOURS):
        near = np.flatnonzero(above[at])
        # Equal rows prefer those that follow them, else all would want the same few.
        distance = (near - rows[at]) % len(columns)
        closeness = cosines[at, near] - TIE_BREAK * distance
        above[at, near[np.argpartition(-closeness, NEIGHBOURS)[NEIGHBOURS:]]] = False
    return above


def _all_above(
    grid: NDArray[np.float64], left: list[int], right: list[int], threshold: float
) -> bool:
    # Two single rows are a pair already known to be above.
    if len(left) == len(right) == 1:
        return True
    return bool((grid[left] @ grid[right].T > threshold).all())


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


def _measure(grid: NDArray[np.float64], members: list[int]) -> PairedGroup:
    return PairedGroup(tuple(members), lowest_cosine(grid, np.asarray(members)))


def _blocks(n: int) -> Iterator[NDArray[np.int64]]:
    step = max(1, BLOCK_ENTRIES // max(1, n))
    for start in range(0, n, step):
        yield np.arange(start, min(start + step, n))
