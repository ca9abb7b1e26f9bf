"""How rare words are."""

from __future__ import annotations

import json
import random

from mergeit_async.merging.weights import WordWeights

TEXTS = ["The cat sleeps.", "The cat eats fish.", "A bird eats worms.", "The moon and the sun."]


def test_a_rarer_word_weighs_more_and_an_unknown_one_most() -> None:
    weights = WordWeights.count(["cat"] * 400 + ["cat fish"] * 40)

    assert weights.weigh("cat") < weights.weigh("fish") < weights.weigh("quokka") == 1.0


def test_a_function_word_weighs_little_even_in_a_small_dataset() -> None:
    weights = WordWeights.count(TEXTS)

    assert weights.weigh("the") == weights.weigh("und") < 0.15 < weights.weigh("cat")


def test_a_word_that_a_text_repeats_counts_once() -> None:
    assert (
        WordWeights.count(["cat cat cat", "cat", "dog"]).to_json()
        == WordWeights.count(["cat", "cat", "dog"]).to_json()
    )


def test_the_order_of_the_texts_changes_nothing() -> None:
    shuffled = random.Random(1).sample(TEXTS, len(TEXTS))

    assert WordWeights.count(shuffled).to_json() == WordWeights.count(TEXTS).to_json()


def test_weights_come_back_from_json_as_they_were() -> None:
    weights = WordWeights.count(TEXTS)
    copy = WordWeights.from_json(weights.to_json())

    assert copy.to_json() == weights.to_json()
    assert json.loads(weights.to_json())["texts"] == 4
    for word in ("cat", "eats", "the", "quokka"):
        assert copy.weigh(word) == weights.weigh(word)


def test_no_texts_at_all_give_every_word_the_same_weight() -> None:
    assert WordWeights.count([]).weigh("cat") == 1.0
