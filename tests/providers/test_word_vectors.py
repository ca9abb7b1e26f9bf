"""The embedded model word by word."""

from __future__ import annotations

import pytest

from mergeit_async.providers import word_vectors
from mergeit_async.providers.word_vectors import WordVectors

FOOD = {"cheese", "honey", "vegetables", "market"}
SEA = {"whale", "ocean", "wave", "ship"}


@pytest.fixture(scope="module")
def vectors() -> WordVectors:
    return WordVectors()


def test_texts_of_one_field_are_closer_than_those_of_two(vectors: WordVectors) -> None:
    same, near, far = vectors.similarities(FOOD, [FOOD, {"cheddar", "fruit"}, SEA])

    assert same == pytest.approx(1.0) and far < near < same


def test_kin_words_are_closer_than_strange_ones(vectors: WordVectors) -> None:
    kin, strange = vectors.kinships(["fridge", "banana"], ["refrigerator", "car"])

    assert kin > 0.6 > 0.3 > strange


def test_no_words_are_like_nothing(vectors: WordVectors) -> None:
    assert vectors.similarities(set(), [FOOD, set()]) == [0.0, 0.0]
    assert vectors.similarities(FOOD, [set()]) == [0.0]
    assert vectors.kinships(["cheese"], []) == [0.0]
    assert vectors.kinships([], ["cheese"]) == []


def test_a_similarity_depends_on_no_other_text_and_not_on_what_was_read_before(
    vectors: WordVectors,
) -> None:
    alone = WordVectors().similarities(FOOD, [SEA])
    among = vectors.similarities(FOOD, [{"zebra", "aardvark"}, SEA])

    assert among[1:] == alone


def test_a_full_table_starts_anew_and_changes_nothing(
    vectors: WordVectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = vectors.similarities(FOOD, [SEA]), vectors.kinships(sorted(FOOD), sorted(SEA))
    monkeypatch.setattr(word_vectors, "MOST_WORDS", 9)

    for word in ("ant", "bee", "cow"):
        vectors.similarities({word}, [{word + "s"}])
        assert vectors.similarities(FOOD, [SEA]) == before[0]
        assert vectors.kinships(sorted(FOOD), sorted(SEA)) == before[1]


def test_any_word_can_be_read(vectors: WordVectors) -> None:
    words = {"\ud800", "x" * 100_000, "日本", "\x00", "1,000", "हिन्दी"}

    assert vectors.similarities(words, [words])[0] == pytest.approx(1.0)


def test_languages_come_from_the_model_beside(vectors: WordVectors) -> None:
    ranks = vectors.rank_languages("Die Brücke ist lang, und der Fluss ist breit.")

    assert max(ranks, key=lambda language: ranks[language]) == "de"
