"""Numbers and names that changed."""

from __future__ import annotations

import pytest

from mergeit_async.merging.changes import Change, find_changes, find_moved, find_names
from mergeit_async.merging.changes import find_strangers as strangers_in
from mergeit_async.merging.matching import Vocabulary
from mergeit_async.merging.units import read_field, read_row
from mergeit_async.merging.weights import WordWeights
from mergeit_async.records import Example
from tests.merging.encoder import ToyEncoder

WEIGHTS = WordWeights.count([])


def _find(source: str, merged: str) -> list[Change]:
    ours, theirs = read_field(source), read_field(merged)
    strangers = strangers_in([theirs], Vocabulary(ours.vocabulary))
    area = Vocabulary(theirs.vocabulary)
    return find_changes(strangers, [ours], area, WEIGHTS, ToyEncoder())


def _strongest(source: str, merged: str) -> Change | None:
    return max(_find(source, merged), key=lambda change: change.strength, default=None)


@pytest.mark.parametrize(
    ("source", "merged", "old", "new", "kind"),
    [
        ("The sum is 26 cm in all.", "In all, the sum is 28 cm in all.", "26", "28", "number"),
        ("They keep for up to 3 days.", "They may stay for 5 days.", "3", "5", "number"),
        (
            "It was said by Helena Novak today.",
            "It was said by Helena Kovar today.",
            "novak",
            "kovar",
            "name",
        ),
        ("By P. Ilves, born 1950", "author: P. Alves, born 1950", "ilves", "alves", "name"),
        ("ls -l /var/log | head", "ls -l /var/lib | head", "log", "lib", "word"),
    ],
)
def test_a_changed_unit_is_found_with_what_stands_there_now(
    source: str, merged: str, old: str, new: str, kind: str
) -> None:
    change = _strongest(source, merged)

    assert change is not None and change.strength > 0.6
    assert (change.old, change.new, change.kind) == (old, new, kind)


@pytest.mark.parametrize(
    ("source", "merged"),
    [
        ("It takes 15 % of 1,000 g.", "Fifteen percent of 1000 grams are needed."),
        ("Two eggs, half a lemon", "2 eggs and 0.5 lemons"),
        ("The train leaves at 20:00.", "The train leaves at 8 p.m. today."),
        ("We met Anna in Oslo.", "Anna was met in Oslo."),
    ],
)
def test_a_rewording_changes_nothing(source: str, merged: str) -> None:
    change = _strongest(source, merged)

    assert change is None or change.strength < 0.6


def test_a_number_that_is_only_left_out_is_no_change() -> None:
    assert _find("It was founded in 1926 by 40 farmers.", "It was founded by 40 farmers.") == []


def test_a_number_that_another_source_knows_is_found_in_the_wrong_place() -> None:
    first = read_row(Example("Name it.", "", "It boils at 78 degrees today."))
    second = read_row(Example("Count it.", "", "There are 12 months."))
    merged = read_field("It boils at 12 degrees today. There are 12 months.")

    moved = find_moved([first.output], [merged], [first, second])

    assert [(each.old, each.new) for each in moved] == [("78", "12")]
    assert find_moved([second.output], [merged], [first, second]) == []


def test_names_are_the_capitals_inside_sentences() -> None:
    assert find_names('Dear Anna, we met J. Smith in "Old Town". Then it rained.') == {
        "anna",
        "smith",
        "old",
        "town",
    }
