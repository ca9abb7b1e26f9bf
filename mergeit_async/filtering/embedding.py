"""What stage 1 asks of an embedder, and the check every set of vectors passes before use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mergeit_async.errors import UsageError


class Embedder(Protocol):
    """Turns texts into vectors whose cosine says how alike the texts are.

    `name` identifies the model and its version and is part of a run's fingerprint: two embedders
    of one name give the same vectors. `dim` is the length of a vector.
    """

    @property
    def name(self) -> str: ...

    @property
    def dim(self) -> int: ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The vectors of `texts`, (n_texts, dim) float32, L2-normalised."""
        ...


def check_vectors(vectors: NDArray[Any], n_rows: int, source: str) -> NDArray[np.float32]:
    """`vectors` as (n_rows, dim) float32, L2-normalised; `source` names their origin in messages.

    Raises UsageError where the shape is wrong, a number is not finite, or a row is all zeros and
    so points nowhere.
    """
    _check_shape(vectors, n_rows, source)
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        raise UsageError(
            f"{source}: row {int(np.argmin(finite))} holds NaN or infinity; "
            "embed that row again or remove it from the dataset."
        )
    peak = np.abs(vectors).max(axis=1, keepdims=True)
    if not peak.all():
        raise UsageError(
            f"{source}: row {int(np.argmin(peak))} is all zeros and has no direction; "
            "embed that row again or remove it from the dataset."
        )
    # Dividing by the peak first keeps the squares of very large and very small numbers in range.
    scaled: NDArray[np.float32] = (vectors / peak).astype(np.float32)
    scaled /= np.linalg.norm(scaled, axis=1, keepdims=True)
    return scaled


def _check_shape(vectors: NDArray[Any], n_rows: int, source: str) -> None:
    if vectors.ndim != 2 or vectors.shape[1] == 0 or not np.issubdtype(vectors.dtype, np.floating):
        raise UsageError(
            f"{source}: {vectors.dtype} numbers of shape {vectors.shape} are not vectors; "
            "give one row of floating-point numbers for each text."
        )
    if vectors.shape[0] != n_rows:
        raise UsageError(
            f"{source}: {vectors.shape[0]} vectors for {n_rows} rows; "
            "give the vectors of this dataset, one for each row and in its order."
        )
