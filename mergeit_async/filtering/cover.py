"""Thinning over all topics at once: the rows that represent the whole dataset best."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, eye_array

from mergeit_async.filtering.neighbours import NEIGHBOURS, Neighbours


def cover_rows(neighbours: Neighbours, budget: int) -> NDArray[np.int64]:
    """The `budget` rows that cover all rows best, in the order chosen.

    Greedy facility location by cosine, as `select.facility_location`, over the 32 closest rows of
    each row instead of all pairs: rows that are not near one another cover nothing of one another,
    and memory and time stay in proportion to the number of rows. A gain kept up to date is exact,
    so bounds in the heap are compared with it and not computed again (Minoux, 1978). A tie goes to
    the lowest index.
    """
    graph = _connect(neighbours.closest(NEIGHBOURS))
    covered = np.zeros(graph.shape[0])
    gains: NDArray[np.float64] = graph.sum(axis=1)
    heap = [(-gain, row) for row, gain in enumerate(gains.tolist())]
    heapify(heap)
    chosen: list[int] = []
    while heap and len(chosen) < budget:
        bound, row = heappop(heap)
        gain = float(gains[row])
        if -bound > gain:
            heappush(heap, (-gain, row))
            continue
        chosen.append(row)
        _cover(graph, row, covered, gains)
    return np.array(chosen, dtype=np.int64)


def _connect(neighbours: Neighbours) -> csr_array:
    """The (n, n) cosines of rows either of which is near the other; each is nearest to itself."""
    n, number = neighbours.rows.shape
    pointers = np.arange(n + 1) * number
    cosines = np.maximum(neighbours.cosines.ravel(), 0.0)
    near = csr_array((cosines, neighbours.rows.ravel(), pointers), shape=(n, n))
    return csr_array(near.maximum(near.T).maximum(eye_array(n, format="csr")))


def _cover(
    graph: csr_array, row: int, covered: NDArray[np.float64], gains: NDArray[np.float64]
) -> None:
    """Enter what `row` covers, and take it off the gains of all that would cover the same."""
    start, end = graph.indptr[row : row + 2]
    better = graph.data[start:end] > covered[graph.indices[start:end]]
    rows, now = graph.indices[start:end][better], graph.data[start:end][better]
    starts, lengths = graph.indptr[rows], np.diff(graph.indptr)[rows]
    before = np.repeat(covered[rows], lengths)
    shifts = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
    entries = shifts + np.arange(len(shifts))
    cosines = graph.data[entries]
    lost = np.maximum(cosines - before, 0.0) - np.maximum(cosines - np.repeat(now, lengths), 0.0)
    np.subtract.at(gains, graph.indices[entries], lost)
    covered[rows] = now
