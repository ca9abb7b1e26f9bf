from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mergeit_async.engine.plan_folder import PlanFolder, PlannedGroup, PlannedTopic


@pytest.fixture
def folder(tmp_path: Path) -> PlanFolder:
    return PlanFolder(tmp_path)


def topic(*groups: PlannedGroup) -> PlannedTopic:
    rows = np.array([3, 5, 8, 13, 21, 34], np.int64)
    return PlannedTopic(4, 7, rows, rows[:-1], groups, rows[3:4])


@pytest.mark.parametrize(
    "groups",
    [
        (),
        (PlannedGroup(7, 4, (3, 5), 0.1 + 0.2),),
        (PlannedGroup(7, 4, (3, 8, 21), 0.75), PlannedGroup(8, 4, (5, 13), -1.0)),
    ],
)
def test_a_topic_is_read_as_it_was_written(folder, groups):
    written = topic(*groups)
    folder.write_topic(written, "hash")
    read = folder.read_topic(4, "hash")
    assert read is not None
    assert (read.topic, read.first_position, read.groups) == (4, 7, groups)
    assert read.rows.tolist() == written.rows.tolist()
    assert read.selected.tolist() == written.selected.tolist()
    assert read.lent.tolist() == [13]


def test_a_topic_made_from_something_else_does_not_count(folder):
    folder.write_topic(topic(), "hash")
    assert folder.read_topic(4, "other") is None
    assert folder.read_topic(5, "hash") is None


def test_topics_are_counted_until_they_are_forgotten(folder):
    assert folder.count_topics() == 0
    folder.write_topic(topic(), "hash")
    assert folder.count_topics() == 1
    folder.clear_topics()
    assert folder.count_topics() == 0
    assert folder.read_topic(4, "hash") is None


def test_vectors_written_in_chunks_are_one_array_of_half_precision(folder):
    chunks = [np.full((2, 3), 0.5, np.float32), np.full((1, 3), -0.25, np.float32)]
    folder.write_vectors(iter(chunks), (3, 3), "hash")
    vectors = np.load(folder.vectors, mmap_mode="r")
    assert vectors.dtype == np.float16
    assert vectors.tolist() == [[0.5] * 3, [0.5] * 3, [-0.25] * 3]


def test_an_artefact_counts_only_under_the_hash_it_was_made_from(folder):
    labels = np.array([0, 1, 0], np.int32)
    assert not folder.holds(folder.labels, "hash")
    folder.write_labels(labels, "hash")
    folder.confirm(folder.rows, "rows")
    assert folder.holds(folder.labels, "hash")
    assert not folder.holds(folder.labels, "other")
    assert not folder.holds(folder.rows, "rows"), "it was entered, but the file is gone"
    assert np.load(folder.labels).tolist() == [0, 1, 0]


def test_an_artefact_that_fails_half_way_leaves_what_was_there(folder):
    def fails() -> Iterator[NDArray[np.float32]]:
        yield np.zeros((1, 2), np.float32)
        raise OSError("no space left")

    folder.write_vectors(iter([np.ones((1, 2), np.float32)]), (1, 2), "before")
    with pytest.raises(OSError, match="no space left"):
        folder.write_vectors(fails(), (2, 2), "after")

    assert folder.holds(folder.vectors, "before")
    assert not folder.holds(folder.vectors, "after")
    assert np.load(folder.vectors).tolist() == [[1.0, 1.0]]
    assert not list(folder.path.glob(".*"))
