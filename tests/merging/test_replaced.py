from __future__ import annotations

import pytest

from mergeit_async.merging.comparison import Comparison
from mergeit_async.merging.replaced import find_renumbered, find_replaced
from mergeit_async.merging.weights import WordWeights
from mergeit_async.records import Example, Row
from tests.merging.encoder import ToyEncoder

WEIGHTS = WordWeights.count([])
RECIPE = "Blend the basil, the pine nuts and 40 g of grated parmesan with oil until smooth."


def compare(source: str, merged: str) -> Comparison:
    row = Row("a", "Answer.", "", source, 0, 1)
    return Comparison(Example("Answer.", "", merged), [row], WEIGHTS, ToyEncoder())


def replaced(source: str, merged: str) -> list[tuple[str, str]]:
    compared = compare(source, merged)
    field = compared.sources[0].output
    found = find_replaced(field, compared.answers, WEIGHTS, ToyEncoder())
    return [(change.old, change.new) for change in found if change.strength > 0.5]


def renumbered(source: str, merged: str) -> list[tuple[str, str]]:
    compared = compare(source, merged)
    found = find_renumbered(compared.sources[0].output, compared.answers)
    return [(change.old, change.new) for change in found]


@pytest.mark.parametrize(
    ("old", "new"), [("parmesan", "pecorino"), ("basil", "parsley"), ("nuts", "cones")]
)
def test_one_other_word_in_a_text_that_is_kept_is_another_thing(old: str, new: str) -> None:
    assert replaced(RECIPE, RECIPE.replace(old, new)) == [(old, new)]


def test_a_text_that_is_reworded_has_other_words_for_the_same_thing() -> None:
    merged = "Process basil with pine kernels, oil and forty grams of shredded parmesan to a paste."
    assert replaced(RECIPE, merged) == []


def test_a_text_that_is_kept_has_no_other_word() -> None:
    assert replaced(RECIPE, f"Here it is: {RECIPE} Enjoy your meal with parsley!") == []


def test_the_beginning_of_a_word_stands_for_it() -> None:
    source = "Name: Lena Horvat\nExtension: 4417\nRoom: B12 in the old building"
    assert replaced(source, source.replace("Extension", "Ext.")) == []
    assert replaced(source, source.replace("Extension", "Car")) == [("extension", "car")]


def test_an_article_may_follow_the_word() -> None:
    source = "The triangle with two equal sides is called an isosceles triangle."
    merged = "The triangle with two equal sides is called a scalene triangle."
    assert replaced(source, merged) == [("isosceles", "scalene")]


def test_a_spelled_number_between_the_same_words_is_another_number() -> None:
    source = "Cool the rice within one hour and keep it for at most one day."
    assert renumbered(source, source.replace("one hour", "two hours")) == [("one", "two")]
    assert renumbered(source, source.replace("one", "1")) == []
    assert renumbered("First fill it.", "Half fill it.") == [], "no words that count"


def test_numbers_that_change_places_with_those_of_another_row_are_no_change() -> None:
    source = "It seats three people and has two masts."
    assert renumbered(source, "It has two masts and seats three people.") == []
