"""Sentences in another language."""

from __future__ import annotations

from mergeit_async.merging.language import find_foreign
from mergeit_async.merging.units import read_field
from tests.merging.encoder import ToyEncoder

ENGLISH = read_field("The soil of the field is dry, and the river is a mile away from the farm.")
GERMAN = "Der Boden ist trocken, und die Farm ist das Ziel."


def _strength(text: str, *sources: str) -> float:
    known = [ENGLISH, *map(read_field, sources)]
    field = read_field(text)
    strange = field.vocabulary.difference(*(each.vocabulary for each in known))
    return find_foreign([field], strange, known, ToyEncoder()).strength


def test_a_sentence_in_another_language_is_found_and_shown() -> None:
    field = read_field(f"The river is far away. {GERMAN}")
    strange = field.vocabulary - ENGLISH.vocabulary

    foreign = find_foreign([field], strange, [ENGLISH], ToyEncoder())

    assert foreign == (1.0, "de", GERMAN)


def test_new_words_of_the_same_language_are_not_foreign() -> None:
    assert _strength("The meadow is a parched waste, the brook is a long walk.") == 0.0


def test_a_language_that_a_source_is_in_is_at_home() -> None:
    assert _strength(GERMAN, "Der Bach ist die Grenze, das Tal ist der Anfang, die Luft.") == 0.0


def test_words_that_a_source_has_are_not_looked_at() -> None:
    assert _strength(GERMAN, GERMAN) == 0.0
