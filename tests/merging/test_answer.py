from __future__ import annotations

import pytest

from mergeit_async.merging.answer import find_copied, find_mismatches, telling_sentences
from mergeit_async.merging.gate import check_merge
from mergeit_async.records import Example, Row

LONG = "The mill by the river was built in 1820 and ground corn for four villages. " * 5
SOURCES = (
    Row("a", "Sum up the text.", LONG, LONG[:200], 0, 1),
    Row("b", "Say when the mill was built.", "", LONG[:150], 1, 2),
)
GOOD = Example("Sum up the text, then say when the mill was built.", LONG, LONG[:320])


def reasons(*sources: Row, **fields: str) -> list[str]:
    merged = GOOD._replace(**fields)
    return [refusal.reason for refusal in find_mismatches(merged, sources or SOURCES)]


def test_a_merge_of_the_size_of_its_sources_is_no_mismatch() -> None:
    assert reasons() == []
    assert reasons(output=LONG[:160], input=LONG[:200]) == [], "half of it, condensed"


@pytest.mark.parametrize("field", ["instruction", "input"])
def test_an_output_that_repeats_what_is_asked_or_given_is_no_answer(field: str) -> None:
    text = getattr(GOOD, field)
    assert reasons(output=f" {text}\n")[:1] == ["echo"]
    echoing = Row("c", LONG, "", LONG, 0, 1)
    assert "echo" not in reasons(echoing, output=text), "a source does so"


@pytest.mark.parametrize(
    "output",
    [
        "Please provide the text that you want me to sum up.",
        "Sure! Could you share the passage?",
        "I need more information about the mill to answer this.",
        "No text was provided, so there is nothing to sum up.",
    ],
)
def test_an_output_that_asks_for_material_is_no_answer(output: str) -> None:
    short = tuple(row._replace(input="", output="Built in 1820.") for row in SOURCES)
    assert reasons(*short, output=output) == ["asks_back"]
    assert reasons(*short, output=f"{LONG} {output}") == [], "an answer that ends politely"
    asking = short[0]._replace(output=output)
    assert reasons(asking, short[1], output=output) == [], "a source does so"


@pytest.mark.parametrize(
    ("field", "text", "reason"),
    [
        ("output", "Built in 1820.", "too_short"),
        ("input", "", "too_short"),
        ("output", LONG * 30, "too_long"),
        ("instruction", LONG * 30, "too_long"),
    ],
)
def test_a_field_far_from_the_size_of_the_sources_is_named(
    field: str, text: str, reason: str
) -> None:
    refusal = check_merge(GOOD._replace(**{field: text}), SOURCES)
    assert refusal is not None
    assert refusal.reason == reason
    assert ("output" if field == "output" else "instruction") in refusal.detail


def test_short_sources_say_nothing_about_length() -> None:
    short = tuple(row._replace(input="", output="In 1820.") for row in SOURCES)
    assert reasons(*short, output="1820", input="") == []


SHOT = "First sentence: The gardener planted forty tulip bulbs along the fence. Five nouns."


def test_a_sentence_of_a_few_shot_gives_a_copy_of_it_away() -> None:
    (telling,) = telling_sentences([SHOT, "Short one. Another."])
    assert telling in SHOT
    copied = GOOD._replace(output=f"{LONG[:200]} {SHOT}")
    assert find_copied(copied, SOURCES, (telling,)) == telling
    assert check_merge(copied, SOURCES, (telling,)).reason == "few_shot_copied"
    assert find_copied(GOOD, SOURCES, (telling,)) is None
    owner = SOURCES[0]._replace(input=SHOT)
    assert find_copied(copied, (owner, SOURCES[1]), (telling,)) is None, "a source has it"
