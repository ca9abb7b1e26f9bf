"""Thinning: the rows of a topic that represent it best, and how many each topic may keep."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mergeit_async.filtering.similarity import Metric, compare_rows, snap_to_grid

TABLE_ENTRIES = 1 << 24
BLOCK_ENTRIES = 1 << 22
FIRST_BATCH = 16
# Below every similarity, so that the gain of a first row is as submodular as all later ones.
UNCOVERED = -2.0


def facility_location(
    vectors: NDArray[np.float32],
    budget: int,
    metric: Metric = "cosine",
    *,
    table_entries: int = TABLE_ENTRIES,
) -> NDArray[np.int64]:
    """The `budget` rows that cover all (n_rows, dim) `vectors` best, in the order chosen.

    Greedy: each row chosen adds most to the sum, over all rows, of the similarity to the closest
    chosen row, which reaches at least 1 − 1/e of the optimum (Nemhauser et al., 1978); a tie goes
    to the lowest index. Lazy: a row is looked at again only while its last gain could still win
    (Minoux, 1978). All arithmetic is exact, see `similarity`. "cosine" wants L2-normalised rows.

    Memory: a table of `table_entries` similarities, 8 bytes each, and a block of 32 MB. The default
    of 128 MB holds all of a topic of 4,096 rows; a larger topic computes each some five times,
    with the same result.
    """
    n = len(vectors)
    grid = snap_to_grid(vectors.astype(np.float64))
    similarities = _Similarities(grid, metric, table_entries)
    covered = np.full(n, UNCOVERED)
    gains = np.full(n, np.inf)
    chosen = np.empty(min(budget, n), dtype=np.int64)
    for step in range(len(chosen)):
        chosen[step] = _settle_best(similarities, covered, gains)
        np.maximum(covered, similarities.of(chosen[step : step + 1])[0], out=covered)
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


class _Similarities:
    """Rows of the (n, n) similarity matrix, made when asked for; the newest `entries` stay."""

    def __init__(self, grid: NDArray[np.float64], metric: Metric, entries: int) -> None:
        n = len(grid)
        self.capacity = min(n, max(1, entries // max(1, n)))
        self._grid, self._metric = grid, metric
        self._table = np.empty((self.capacity, n))
        self._slot_of_row = np.full(n, -1)
        self._row_of_slot = np.full(self.capacity, -1)
        self._next_slot = 0

    def of(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Similarities of `rows`, at most `capacity` of them, to all: a new (len(rows), n)."""
        slots = self._slot_of_row[rows]
        found: NDArray[np.float64] = self._table[slots]
        missing = slots < 0
        if missing.any():
            found[missing] = compare_rows(self._grid, rows[missing], self._metric)
            self._keep(rows[missing], found[missing])
        return found

    def _keep(self, rows: NDArray[np.int64], similarities: NDArray[np.float64]) -> None:
        slots = (self._next_slot + np.arange(len(rows))) % self.capacity
        evicted = self._row_of_slot[slots]
        self._slot_of_row[evicted[evicted >= 0]] = -1
        self._table[slots] = similarities
        self._row_of_slot[slots] = rows
        self._slot_of_row[rows] = slots
        self._next_slot = int(slots[-1] + 1) % self.capacity


def _settle_best(
    similarities: _Similarities, covered: NDArray[np.float64], gains: NDArray[np.float64]
) -> int:
    """The row of highest gain; `gains` holds upper bounds and is brought up to date as needed."""
    fresh = np.zeros(len(gains), dtype=np.bool_)
    width = FIRST_BATCH
    widest = min(similarities.capacity, max(1, BLOCK_ENTRIES // len(gains)))
    best_gain = -np.inf
    while not fresh[best := int(np.argmax(gains))]:
        # A stale bound equal to the best gain counts: it may be a tie with a lower index.
        candidates = np.flatnonzero(~fresh & (gains >= best_gain) & (gains > -np.inf))
        candidates = _highest(gains, candidates, min(width, widest))
        improvement = similarities.of(candidates)
        improvement -= covered
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
