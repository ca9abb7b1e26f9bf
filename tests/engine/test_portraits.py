"""What topics are about, from the rows and vectors of a plan to the file and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mergeit_async.data.store import RowStore, write_rows
from mergeit_async.engine.portraits import (
    TopicPortrait,
    TypicalRow,
    dump_portraits,
    paint_topics,
    read_portraits,
)
from mergeit_async.ids import row_id
from mergeit_async.records import Example, Row

TEXTS = ["Write a recipe for soup", "Write a poem", "A recipe  for\nbread", "Write a poem " * 20]


@pytest.fixture
def store(tmp_path: Path) -> RowStore:
    examples = [Example(text, "", "Done.") for text in TEXTS]
    rows = [
        Row(row_id(example, 0), *example, number, number + 1, None, {})
        for number, example in enumerate(examples)
    ]
    write_rows(tmp_path / "rows.arrow", rows)
    return RowStore.open(tmp_path / "rows.arrow")


def test_each_topic_has_its_size_its_words_and_its_typical_rows(store):
    vectors = np.array([[1, 0], [0, 1], [0.8, 0.6], [0, 1]], np.float16)

    recipes, poems = paint_topics(store, np.arange(4), vectors, np.array([0, 1, 0, 1], np.int32))

    assert (recipes.topic, recipes.rows, poems.rows) == (0, 2, 2)
    assert recipes.words[0] == "recipe"
    assert poems.words[0] == "poem"
    assert "for" not in recipes.words
    assert recipes.typical == (
        TypicalRow(store[0].id, "Write a recipe for soup"),
        TypicalRow(store[2].id, "A recipe for bread"),
    )


def test_long_texts_are_cut(store):
    (alone,) = paint_topics(
        store, np.array([3]), np.ones((1, 2), np.float16), np.zeros(1, np.int32)
    )
    text = alone.typical[0].text
    assert len(text) == 120
    assert text.endswith("…")


def test_a_dataset_without_rows_has_no_portraits(store):
    nothing = np.empty(0, np.int64)
    assert (
        paint_topics(store, nothing, np.empty((0, 2), np.float16), nothing.astype(np.int32)) == []
    )


def test_portraits_are_read_as_they_were_saved(tmp_path):
    portraits = [
        TopicPortrait(0, 7, ("soup", "брот"), (TypicalRow("a", "Cook."), TypicalRow("b", "Bake."))),
        TopicPortrait(1, 1, (), (TypicalRow("c", "1 + 1"),)),
    ]
    path = tmp_path / "topics.json"
    assert read_portraits(path) == []
    path.write_bytes(dump_portraits(portraits))
    assert read_portraits(path) == portraits
