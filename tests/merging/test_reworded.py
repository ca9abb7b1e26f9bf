"""Rewordings, which are told by what is kept of the question."""

from __future__ import annotations

from mergeit_async.merging.matching import Vocabulary
from mergeit_async.merging.reworded import is_reworded
from mergeit_async.merging.survival import measure_survival
from mergeit_async.merging.units import read_row
from mergeit_async.merging.weights import WordWeights
from mergeit_async.records import Example
from tests.merging.encoder import ToyEncoder

WEIGHTS = WordWeights.count([])
RAISE = Example("Give advice on asking for a raise.", "", "Collect your results and name a sum.")
GARAGE = Example("Which firm began in a garage?", "", "Hewlett-Packard")
ANSWER = "Gather proof of what was achieved, then state a figure. It was Hewlett-Packard."


def _is_reworded(instruction: str, output: str = ANSWER) -> bool:
    rows, merged = [read_row(RAISE), read_row(GARAGE)], read_row(Example(instruction, "", output))
    asked = Vocabulary(merged.instruction.vocabulary)
    kept = measure_survival(rows[0].instruction.vocabulary, asked, WEIGHTS, ToyEncoder())
    return is_reworded(0, rows, merged, kept)


def test_a_question_that_only_asks_in_another_way_is_reworded() -> None:
    assert _is_reworded("Is there advice on asking for a raise? And which firm began in a garage?")


def test_a_question_about_another_thing_or_a_shorter_answer_is_not() -> None:
    assert not _is_reworded("Give advice on asking for a holiday. Which firm began in a garage?")
    assert not _is_reworded("Is there advice on asking for a raise?", "It was Hewlett-Packard.")
