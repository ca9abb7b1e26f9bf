"""What `check_vectors` lets through, and how it names what it does not."""

from __future__ import annotations

import numpy as np
import pytest

from mergeit_async.errors import UsageError
from mergeit_async.filtering.embedding import check_vectors


def test_vectors_come_back_as_unit_vectors_in_float32() -> None:
    raw = np.array([[3.0, 4.0], [0.0, -2.0]], dtype=np.float16)

    vectors = check_vectors(raw, 2, "vectors.npy")

    assert vectors.dtype == np.float32
    assert np.allclose(vectors, [[0.6, 0.8], [0.0, -1.0]])


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_numbers_whose_squares_leave_the_range_keep_their_direction(scale: float) -> None:
    vectors = check_vectors(np.array([[3.0, 4.0]]) * scale, 1, "vectors.npy")

    assert np.allclose(vectors, [[0.6, 0.8]])


def test_a_dataset_without_rows_has_no_vectors() -> None:
    assert check_vectors(np.empty((0, 3)), 0, "vectors.npy").shape == (0, 3)


@pytest.mark.parametrize(
    ("vectors", "n_rows", "complaint"),
    [
        (np.array([[1.0, 0.0], [np.nan, 1.0]]), 2, "row 1 holds NaN"),
        (np.array([[np.inf, 0.0], [1.0, 1.0]]), 2, "row 0 holds NaN or infinity"),
        (np.array([[1.0, 0.0], [0.0, 0.0]]), 2, "row 1 is all zeros"),
        (np.ones((3, 2)), 4, "3 vectors for 4 rows"),
        (np.ones(3), 3, "shape (3,)"),
        (np.ones((3, 0)), 3, "shape (3, 0)"),
        (np.ones((3, 2), dtype=np.int64), 3, "int64"),
    ],
)
def test_an_unusable_set_of_vectors_is_refused_by_name(
    vectors: np.ndarray, n_rows: int, complaint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        check_vectors(vectors, n_rows, "my.npy")

    assert str(caught.value).startswith("my.npy: ")
    assert complaint in str(caught.value)
