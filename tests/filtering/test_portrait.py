"""Words and rows that tell what a topic is about."""

from __future__ import annotations

import numpy as np

from mergeit_async.filtering.portrait import key_words, typical_rows

TEXTS = [
    "Write a recipe for apple soup",
    "Write a recipe for onion soup, soup and soup again",
    "Write a poem about the sea",
    "Write a poem about the moon",
    "Write 12 of 34",
]
LABELS = np.array([0, 0, 1, 1, 2], np.int32)


def test_words_of_one_topic_name_it_and_words_of_all_do_not() -> None:
    recipes, poems, _ = key_words(TEXTS, LABELS, 3)
    assert recipes == ("for", "recipe", "soup")
    assert poems == ("about", "poem", "the")


def test_words_to_be_left_out_are() -> None:
    recipes, poems, rest = key_words(TEXTS, LABELS, 2, {"for", "about", "the", "of"})
    assert recipes == ("recipe", "soup")
    assert poems[0] == "poem"
    assert rest == ("write",)


def test_a_word_of_one_text_comes_after_those_of_several() -> None:
    texts = ["zebra stripes stripes", "lion mane", "lion teeth", "train"]
    animals, _ = key_words(texts, np.array([0, 0, 0, 1], np.int32), 9)
    assert animals == ("lion", "mane", "stripes", "teeth", "zebra")


def test_texts_without_words_have_none() -> None:
    assert key_words(["1 2", "+"], np.array([0, 1], np.int32), 3) == [(), ()]
    assert key_words([], np.empty(0, np.int32), 3) == []
    assert key_words(["the", "the"], np.array([0, 1], np.int32), 3, {"the"}) == [(), ()]


def test_words_of_any_script_are_words() -> None:
    texts = ["рецепт супа", "рецепт каши", "Gedicht übers Meer", "Gedicht über Möwen"]
    assert key_words(texts, np.array([0, 0, 1, 1], np.int32), 1) == [("рецепт",), ("gedicht",)]


def test_typical_rows_are_the_closest_to_the_middle_each_once() -> None:
    angles = np.radians([0, 40, 44, 44, 90, 50])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    # The mean points to 44.7 degrees.
    assert typical_rows(vectors, 3).tolist() == [2, 1, 5]
    assert typical_rows(vectors[:1], 3).tolist() == [0]


def test_equal_rows_are_one_typical_row() -> None:
    assert typical_rows(np.ones((5, 4), np.float32) / 2, 3).tolist() == [0]
