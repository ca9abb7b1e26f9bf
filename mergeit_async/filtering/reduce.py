"""Fewer dimensions for clustering: principal components that keep 95 % of the variance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

KEPT_VARIANCE = 0.95
# Mean squared distance to the centroid; below it, float32 noise is all that tells rows apart.
NEGLIGIBLE_SPREAD = 1e-6


def reduce_vectors(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The (n_rows, dim) unit vectors as (n_rows, k) float32 points; the least k that keeps 95 %.

    Rows that are all equal, a single row among them, become the origin of a line. The solver
    works on the dim × dim covariance: no randomness, and time linear in the number of rows.
    Source: MergeIT, arXiv 2503.00034, section 3.
    """
    if _spread(vectors) < NEGLIGIBLE_SPREAD:
        return np.zeros((len(vectors), 1), dtype=np.float32)
    # Here, not above: it takes a second to import, and a resumed run has its topics already.
    from sklearn.decomposition import PCA

    model = PCA(KEPT_VARIANCE, svd_solver="covariance_eigh")
    points: NDArray[np.float32] = model.fit_transform(vectors).astype(np.float32, copy=False)
    return np.ascontiguousarray(points)


def _spread(vectors: NDArray[np.float32]) -> float:
    """The mean squared distance of vectors from their centroid; theirs is about unit length.

    About, as half precision takes them up to 1e-3 off.
    """
    if len(vectors) < 2:
        return 0.0
    centroid = vectors.mean(axis=0, dtype=np.float64)
    squares = np.einsum("nd,nd->", vectors, vectors, dtype=np.float64)
    return float(squares / len(vectors) - centroid @ centroid)
