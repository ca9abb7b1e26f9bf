"""Similarities that come out the same on every machine, whatever the BLAS, threads or block size.

Vectors are snapped to multiples of 2⁻¹⁵. Products of such numbers are multiples of 2⁻³⁰, and for
vectors of about unit length their sums stay below 2²² for topics of up to a million rows; so
float64 holds every dot product and every sum of them exactly, in any order. Ties are then true
ties, and a block-wise result equals the one computed at once. Snapping moves a cosine by
some 10⁻⁵, less than float16 vectors do.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

Metric = Literal["cosine", "euclidean"]
Number = TypeVar("Number", bound=np.floating[Any])

VECTOR_STEP = 2.0**-15
SIMILARITY_STEP = 2.0**-30


def snap_to_grid(numbers: NDArray[Number]) -> NDArray[Number]:
    """The nearest multiples of 2⁻¹⁵, of the same shape and type; float32 holds them exactly."""
    snapped: NDArray[Number] = np.rint(numbers / VECTOR_STEP) * VECTOR_STEP
    return snapped


def compare_rows(
    grid: NDArray[np.float64], rows: NDArray[np.int64], metric: Metric = "cosine"
) -> NDArray[np.float64]:
    """Similarity of some `rows` of the snapped (n, dim) `grid` to all: (len(rows), n_rows).

    "cosine" is the dot product of unit vectors. "euclidean" is exp(−d / dim) for the distance d,
    rounded to 2⁻³⁰, which is what submodlib, the paper's library, uses for its metric of that name
    (`euclidean_similarity` in cpp/utils/helper.cpp and `create_kernel_dense_sklearn` in
    submodlib/helper.py, repository decile-team/submodlib).
    """
    dots: NDArray[np.float64] = grid[rows] @ grid.T
    return dots if metric == "cosine" else _from_distance(grid, rows, dots)


def lowest_cosine(grid: NDArray[np.float64], members: NDArray[np.int64]) -> float:
    """The lowest cosine between any two of at least two `members`, at most 1."""
    cosines = grid[members] @ grid[members].T
    lowest = cosines[np.triu_indices(len(members), k=1)].min()
    return min(1.0, float(lowest))


def _from_distance(
    grid: NDArray[np.float64], rows: NDArray[np.int64], dots: NDArray[np.float64]
) -> NDArray[np.float64]:
    squares = np.einsum("nd,nd->n", grid, grid)
    squared_distances = squares[rows, np.newaxis] + squares - 2.0 * dots
    similarities = np.exp(-np.sqrt(squared_distances) / grid.shape[1])
    snapped: NDArray[np.float64] = np.rint(similarities / SIMILARITY_STEP) * SIMILARITY_STEP
    return snapped
