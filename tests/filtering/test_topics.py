"""Topics: their number, their numbering, and what becomes of equal points."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mergeit_async.filtering.neighbours import find_neighbours
from mergeit_async.filtering.topics import assign_topics, default_topic_count, smooth_topics


def planted(n: int, centres: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Points in tight, far-apart clouds, and the cloud of each."""
    generator = np.random.default_rng(seed)
    clouds = generator.integers(0, centres, n)
    spread = generator.normal(0, 0.005, (n, 8))
    return (np.eye(8)[clouds] + spread).astype(np.float32), clouds


def same_partition(left: NDArray[np.int64], right: NDArray[np.int64]) -> bool:
    together = {(int(a), int(b)) for a, b in zip(left, right, strict=True)}
    return len(together) == len(set(left.tolist())) == len(set(right.tolist()))


@pytest.mark.parametrize(
    ("n", "count"), [(0, 1), (1, 1), (2, 1), (7, 1), (8, 2), (17387, 93), (52002, 161)]
)
def test_the_default_number_of_topics_is_the_root_of_half_the_rows(n: int, count: int) -> None:
    assert default_topic_count(n) == count


def test_clouds_far_apart_become_the_topics() -> None:
    points, clouds = planted(200, 5, seed=1)

    assert same_partition(assign_topics(points, 5, seed=42), clouds)


def test_topics_are_numbered_by_their_first_row() -> None:
    labels = assign_topics(planted(300, 6, seed=2)[0], 12, seed=0)

    first_rows = [int(np.flatnonzero(labels == topic)[0]) for topic in range(labels.max() + 1)]
    assert labels.dtype == np.int32
    assert first_rows[0] == 0
    assert first_rows == sorted(first_rows)


def test_a_seed_gives_the_same_topics_again_where_only_a_sample_starts_them() -> None:
    points = np.random.default_rng(0).normal(0, 0.1, (5100, 4)).astype(np.float32)

    topics = assign_topics(points, 20, seed=7)

    assert np.array_equal(assign_topics(points, 20, seed=7), topics)
    assert not same_partition(assign_topics(points, 20, seed=8), topics)


@pytest.mark.parametrize(("n", "count"), [(0, 1), (1, 1), (1, 5), (3, 3), (3, 10)])
def test_few_rows_have_topics_too(n: int, count: int) -> None:
    points = np.eye(5, dtype=np.float32)[:n]

    assert assign_topics(points, count, seed=0).tolist() == list(range(n))


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    distinct=st.integers(1, 6),
    n=st.integers(1, 400),
    dim=st.integers(1, 250),
)
def test_equal_points_share_a_topic_when_there_are_more_topics_than_points(
    seed: int, distinct: int, n: int, dim: int
) -> None:
    generator = np.random.default_rng(seed)
    points = generator.normal(0, 0.3, (distinct, dim)).astype(np.float32)
    which = generator.integers(0, distinct, n)

    labels = assign_topics(points[which], 22, seed)

    # One dimension may leave so little between two points that they share a topic.
    assert all(len(set(labels[which == point])) <= 1 for point in range(distinct))
    assert dim == 1 or same_partition(labels, which)


def as_directions(points: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    return np.asarray(points / lengths, dtype=np.float32)


def test_smoothed_clouds_are_the_same_topics_and_tighter() -> None:
    points, clouds = planted(400, 5, seed=1)
    vectors = as_directions(points)

    smoothed = smooth_topics(vectors, find_neighbours(vectors, 0), 5)

    assert same_partition(assign_topics(smoothed, 5, seed=42), clouds)
    for cloud in range(5):
        before, after = (rows[clouds == cloud].var(axis=0).sum() for rows in (vectors, smoothed))
        assert after < before / 2


def test_topics_of_a_few_rows_are_not_smoothed() -> None:
    vectors = as_directions(planted(30, 5, seed=1)[0])

    smoothed = smooth_topics(vectors, find_neighbours(vectors, 0), 10)

    assert np.allclose(smoothed, vectors, atol=1e-4)
