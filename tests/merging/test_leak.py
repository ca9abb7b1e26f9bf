"""Answers in questions."""

from __future__ import annotations

from mergeit_async.merging.leak import (
    NO_LEAK,
    Leak,
    brackets_answer,
    fills_blank,
    find_labels,
    find_run,
    measure_leak,
    repeats_label,
)
from mergeit_async.merging.matching import Vocabulary
from mergeit_async.merging.units import read_field, read_words
from mergeit_async.merging.weights import WordWeights

WEIGHTS = WordWeights.count(["the same answer"] * 500)


def _measure(output: str, merged: str, asked: str) -> Leak:
    before = set(read_words(asked))
    new = set(read_words(merged)) - before
    return measure_leak(read_field(output), new, Vocabulary(before), WEIGHTS)


def test_a_short_answer_in_the_question_is_a_leak() -> None:
    leak = _measure("chairperson", "Say it better, as in chairperson: chairman", "chairman")

    assert leak.strength == 1.0 and leak.words == ("chairperson",)


def test_what_a_source_asks_itself_is_no_leak() -> None:
    assert _measure("Negative", "positive or negative?", "Is it negative?") == NO_LEAK


def test_a_few_words_of_a_long_answer_are_chance() -> None:
    answer = (
        "Mitochondria break glucose down into energy, the currency which all living tissue then "
        "consumes day and night."
    )

    assert _measure(answer, "What do mice do for energy?", "What do they do?").strength == 0.0


def test_a_word_that_anybody_uses_is_chance() -> None:
    assert _measure("the same", "In the same answer, add up.", "Add up.").strength < 0.3


def test_a_number_of_the_answer_is_a_leak_and_a_label_is_none() -> None:
    answer = "No, because 91 is the product of seven factors, 7 and 13, as everybody can see."

    assert _measure(answer, "Is 91, divided by 13, prime?", "Is 91 prime?").strength > 0.5
    assert find_labels([read_field("1. Is it prime? (2) Is it odd? See part 3.")]) == set("123")


def test_a_run_of_the_answer_is_found_unless_a_source_asks_it() -> None:
    output = read_field("The old town lies at the foot of the hill.")
    merged = [read_field("Describe it (the town lies at the foot of the hill).")]

    assert find_run(output, merged, [read_field("Describe it.")])
    assert not find_run(output, merged, merged)


def test_a_blank_that_was_filled_in_is_told_from_one_that_is_marked_otherwise() -> None:
    source = [read_field("I have been interested ___ astronomy for years.")]

    assert fills_blank([read_field("I have been interested in astronomy for years.")], source)
    assert not fills_blank([read_field("interested (…) astronomy")], source)
    assert not fills_blank([read_field("interested in it")], [read_field("Correct it.")])


def test_one_of_the_labels_to_choose_from_is_given_away_where_it_is_said_once_more() -> None:
    asked = [read_field("Is the tweet positive or negative?")]
    told = [read_field("Is the tweet positive or negative? Mind its positive mood.")]

    assert repeats_label(read_field("Positive"), told, asked)
    assert not repeats_label(read_field("Positive"), asked, asked)
    assert not repeats_label(read_field("Neutral"), told, asked)


def test_a_number_among_the_labels_of_parts_is_not_given_away() -> None:
    asked = [read_field("Say 1 for yes, 2 for no.")]
    told = [read_field("Part 2: Say 1 for yes, 2 for no.")]

    assert not repeats_label(read_field("2"), told, asked)


def test_a_short_answer_between_brackets_is_given_away() -> None:
    asked = [read_field("Which vitamin does the skin make?")]
    told = [read_field("Which vitamin does the skin make (vitamin D)?")]

    assert brackets_answer(read_field("Vitamin D."), told, asked)
    assert not brackets_answer(read_field("Vitamin D."), told, told)
    assert not brackets_answer(read_field("Vitamin K."), told, asked)
