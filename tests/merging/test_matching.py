"""Words in other forms, and kin words."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mergeit_async.merging.matching import UNTOLD, Vocabulary, find_credits
from mergeit_async.merging.units import read_words
from tests.merging.encoder import ToyEncoder


def _has(text: str, word: str) -> bool:
    return Vocabulary(set(read_words(text))).has_form_of(word)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("scattering", "scattered"),
        ("a description", "descriptions"),
        ("Казахстана", "казахстан"),
        ("a cat", "cats"),
        ("und die Tochter", "tochters"),
        ("الكتاب", "كتاب"),
    ],
)
def test_another_form_of_a_word_is_found(text: str, word: str) -> None:
    assert _has(text, word)


@pytest.mark.parametrize(
    ("text", "word"), [("Ponce", "elcano"), ("Alves", "ilves"), ("planet", "plantation")]
)
def test_another_word_is_no_form(text: str, word: str) -> None:
    assert not _has(text, word)


@pytest.mark.parametrize(
    ("text", "number"),
    [("two eggs", "2"), ("1,000 km", "1000"), ("half of it", "0.5"), ("6.650", "6,650")],
)
def test_a_number_is_found_in_another_spelling(text: str, number: str) -> None:
    assert _has(text, number)


def test_an_hour_of_the_afternoon_is_found_on_the_other_clock() -> None:
    assert _has("at 8 p.m.", "20")
    assert not _has("at 8 o'clock", "20")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("in the 19th century", "1800"),
        ("half a kilogram of flour", "500"),
        ("a run of 1.25 km", "1250"),
    ],
)
def test_a_number_is_found_in_another_unit(text: str, number: str) -> None:
    assert _has(text, number)
    assert not _has(text, "700")


def test_a_spelled_number_is_found_in_digits() -> None:
    assert _has("for 8 people", "eight")
    assert not _has("for 8 people", "seven")


def test_a_kin_word_is_credited_by_how_close_it_is() -> None:
    kept = Vocabulary({"refrigerator", "large", "house"})
    credits = find_credits(["fridge", "big", "ocean"], kept, ToyEncoder())

    assert credits["fridge"] == 1.0
    assert 0.0 < credits["big"] < 1.0
    assert credits["ocean"] == 0.0


def test_words_beyond_the_bound_fare_as_those_before_it() -> None:
    lost = [f"w{number}word" for number in range(1_500)]
    credits = find_credits(lost, Vocabulary({"other"}), ToyEncoder())

    assert len(credits) == 1_500 and set(credits.values()) == {0.0}


def test_the_model_is_not_asked_about_scripts_it_has_no_words_of() -> None:
    class Generous(ToyEncoder):
        def kinships(self, lost: Sequence[str], kept: Sequence[str]) -> list[float]:
            return [1.0] * len(lost)

    credits = find_credits(["शाम", "evening"], Vocabulary({"सुबह", "night"}), Generous())

    assert credits == {"शाम": UNTOLD, "evening": 1.0}
