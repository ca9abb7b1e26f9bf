"""Questions that are gone while their answers stand."""

from __future__ import annotations

from mergeit_async.merging.matching import Vocabulary
from mergeit_async.merging.survival import measure_survival
from mergeit_async.merging.unasked import find_unasked
from mergeit_async.merging.units import read_row
from mergeit_async.merging.weights import WordWeights
from mergeit_async.records import Example
from tests.merging.encoder import ToyEncoder

WEIGHTS = WordWeights.count([])
SOURCE = Example("Explain what a SWOT analysis is.", "", "A SWOT analysis looks at strengths.")
ANSWER = "I am away until May. A SWOT analysis examines strengths."


def _find(instruction: str, output: str = ANSWER) -> list[str]:
    row, merged = read_row(SOURCE), read_row(Example(instruction, "", output))
    asked = Vocabulary(merged.instruction.vocabulary)
    kept = measure_survival(row.instruction.vocabulary, asked, WEIGHTS, ToyEncoder())
    return find_unasked(row, kept, merged)


def test_a_name_that_is_answered_and_not_asked_for_tells_of_a_question_that_is_gone() -> None:
    assert _find("Draft a short reply.") == ["swot"]


def test_a_name_that_is_asked_for_or_spelled_out_is_no_such_sign() -> None:
    assert _find("Draft a short reply, and tell what SWOT means.") == []
    assert _find("What are strengths, weaknesses, opportunities and threats?") == []
    assert _find("Draft a short reply.", "I am away. It examines strengths.") == []
