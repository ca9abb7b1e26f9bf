"""What is new in a merged row."""

from __future__ import annotations

from mergeit_async.merging.matching import Vocabulary
from mergeit_async.merging.strangers import Area, find_names, find_strangers
from mergeit_async.merging.units import read_field, read_words


def _kinds(merged: str, known: str) -> dict[str, str]:
    found = find_strangers([read_field(merged)], Vocabulary(set(read_words(known))))
    return {each.field.words[at]: kind for each in found for at, kind in each.places}


def test_new_units_are_told_apart_by_kind() -> None:
    merged = "In Oslo we met Kovar, who has 3 boats."

    assert _kinds(merged, "in we met who has oslo") == {
        "kovar": "name",
        "3": "number",
        "boats": "word",
    }


def test_a_known_unit_in_another_form_is_not_new() -> None:
    assert _kinds("Two cats met at 8 p.m. today.", "2 cat met at 20:00 today p m") == {}


def test_names_are_the_capitals_inside_sentences() -> None:
    text = 'We saw Anna, then met J. Smith in "Old Town" and Bergen. Then it rained.'

    assert find_names(text) == {"anna", "smith", "old", "town", "bergen"}


def test_a_name_may_begin_a_sentence_if_its_second_word_has_a_capital_too() -> None:
    assert find_names("Jonas Salk made it. The Nile flows.") == {"jonas", "salk", "nile"}


def test_a_greeting_is_no_name() -> None:
    assert find_names("Dear Leon, thank you. Yours, Priya") == {"leon", "priya"}


def test_a_word_is_lacking_where_it_stands_less_often_than_before() -> None:
    merged = (read_field("Oslo and Bergen"),)
    sources = (read_field("Oslo"), read_field("To Oslo"))
    area = Area(merged, sources, Vocabulary(merged[0].vocabulary), [], False, Vocabulary(set()))

    assert area.lacks("oslo") and not area.lacks("bergen")
