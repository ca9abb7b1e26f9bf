"""Thinning: the rows of a topic that represent it best, and how many each topic may keep."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mergeit_async.filtering.similarity import Metric, compare_rows, snap_to_grid

DENSE_ROWS = 2048
BLOCK_ENTRIES = 1 << 22
FIRST_BATCH = 16
# Below every similarity, so that the gain of a first row is as submodular as all later ones.
UNCOVERED = -2.0

CompareRows = Callable[[NDArray[np.int64]], NDArray[np.float64]]


def facility_location(
    vectors: NDArray[np.float32], budget: int, metric: Metric = "cosine"
) -> NDArray[np.int64]:
    """The `budget` rows that cover all (n_rows, dim) `vectors` best, in the order chosen.

    Greedy: each row chosen adds most to the sum, over all rows, of the similarity to the closest
    chosen row, which reaches at least 1 − 1/e of the optimum (Nemhauser et al., 1978); a tie goes
    to the lowest index. Lazy: a row is looked at again only while its last gain could still win
    (Minoux, 1978). All arithmetic is exact, see `similarity`. "cosine" wants L2-normalised rows.

    A topic of up to 2,048 rows holds its similarities at once; a larger one computes them as
    needed, 32 MB at a time, with the same result.
    """
    n = len(vectors)
    compare = _comparison(snap_to_grid(vectors), metric)
    covered = np.full(n, UNCOVERED)
    gains = np.full(n, np.inf)
    chosen = np.empty(min(budget, n), dtype=np.int64)
    for step in range(len(chosen)):
        chosen[step] = _settle_best(compare, covered, gains)
        np.maximum(covered, compare(chosen[step : step + 1])[0], out=covered)
        gains[chosen[step]] = -np.inf
    return chosen


def topic_budgets(
    sizes: NDArray[np.int64], per_cluster: int | None, target_rows: int | None
) -> NDArray[np.int64]:
    """How many rows each topic keeps, given its size: (n_topics,) int64, never above the size.

    `target_rows` is spread in proportion to size (largest remainder), at least one row a topic as
    far as it goes, and sums to the target or to all rows; it takes precedence over `per_cluster`,
    the most rows of any topic. With neither, every row stays.
    """
    sizes = np.asarray(sizes, dtype=np.int64)
    if target_rows is not None:
        return _spread_total(sizes, min(target_rows, int(sizes.sum())))
    return sizes.copy() if per_cluster is None else np.minimum(sizes, per_cluster)


def _comparison(grid: NDArray[np.float64], metric: Metric) -> CompareRows:
    if len(grid) <= DENSE_ROWS:
        return compare_rows(grid, np.arange(len(grid)), metric).__getitem__
    return lambda rows: compare_rows(grid, rows, metric)


def _settle_best(
    compare: CompareRows, covered: NDArray[np.float64], gains: NDArray[np.float64]
) -> int:
    """The row of highest gain; `gains` holds upper bounds and is brought up to date as needed."""
    fresh = np.zeros(len(gains), dtype=np.bool_)
    width, widest = FIRST_BATCH, max(1, BLOCK_ENTRIES // len(gains))
    best_gain = -np.inf
    while not fresh[best := int(np.argmax(gains))]:
        # A stale bound equal to the best gain counts: it may be a tie with a lower index.
        candidates = np.flatnonzero(~fresh & (gains >= best_gain) & (gains > -np.inf))
        candidates = _highest(gains, candidates, min(width, widest))
        improvement = compare(candidates) - covered
        gains[candidates] = np.maximum(improvement, 0.0, out=improvement).sum(axis=1)
        fresh[candidates] = True
        best_gain = max(best_gain, float(gains[candidates].max()))
        width *= 2
    return best


def _highest(
    gains: NDArray[np.float64], candidates: NDArray[np.int64], width: int
) -> NDArray[np.int64]:
    if len(candidates) <= width:
        return candidates
    return candidates[np.argpartition(-gains[candidates], width)[:width]]


def _spread_total(sizes: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """`total` rows over topics: one for a topic whose share is below one, the rest by share."""
    single = np.zeros(len(sizes), dtype=np.bool_)
    if total <= np.count_nonzero(sizes):
        single[np.argsort(-sizes, kind="stable")[:total]] = True
        return single.astype(np.int64)
    while True:
        sharing = np.where(single, 0, sizes)
        rest = total - int(np.count_nonzero(single))
        small = (sharing > 0) & (sharing * rest < sharing.sum())
        if not small.any():
            return single + _share_out(sharing, rest)
        # Their minimum comes out of what the others share, so the shares must be taken anew.
        single |= small


def _share_out(sizes: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """The largest-remainder method in integers; a tie goes to the lowest index."""
    shares, remainders = np.divmod(sizes * total, sizes.sum())
    left = total - int(shares.sum())
    shares[np.argsort(-remainders, kind="stable")[:left]] += 1
    return shares
