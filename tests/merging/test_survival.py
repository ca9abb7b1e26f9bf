"""How much of a field survives."""

from __future__ import annotations

from mergeit_async.merging.matching import Vocabulary
from mergeit_async.merging.survival import FULL, join_survivals, measure_survival
from mergeit_async.merging.weights import WordWeights
from tests.merging.encoder import ToyEncoder

WEIGHTS = WordWeights.count(["cat"] * 100 + ["dog"] * 200 + ["cat glacier"] * 3)


def _measure(words: str, kept: str) -> tuple[float, tuple[str, ...]]:
    vocabulary = Vocabulary(set(kept.split()))
    return measure_survival(set(words.split()), vocabulary, WEIGHTS, ToyEncoder())


def test_what_stands_there_word_for_word_survives_whole() -> None:
    assert _measure("cat glacier", "glacier the cat") == FULL


def test_a_rare_word_is_a_greater_loss_than_a_common_one() -> None:
    rare, common = _measure("cat glacier", "cat"), _measure("cat glacier", "glacier")

    assert rare[0] < common[0] < 1.0


def test_lost_words_are_named_heaviest_first() -> None:
    assert _measure("cat glacier quokka the", "nothing")[1] == ("quokka", "glacier", "cat")


def test_words_that_the_model_cannot_compare_are_half_lost_and_named() -> None:
    share, lost = _measure("शाम", "सुबह")

    assert 0.0 < share < 0.5 and lost == ("शाम",)


def test_function_words_may_go() -> None:
    assert _measure("the cat and a glacier", "cat glacier")[0] == 1.0


def test_a_part_of_little_weight_moves_the_whole_little() -> None:
    lost = _measure("glacier", "cat")

    assert join_survivals(FULL, lost, 1.0, 0.25).share == 0.8
    assert join_survivals(FULL, lost, 0.0, 0.0) == FULL
