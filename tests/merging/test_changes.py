"""Numbers and names that changed."""

from __future__ import annotations

import pytest

from mergeit_async.merging.changes import Change, find_changes, find_moved
from mergeit_async.merging.matching import Vocabulary
from mergeit_async.merging.strangers import Area, find_strangers
from mergeit_async.merging.units import Field, read_field
from mergeit_async.merging.weights import WordWeights
from tests.merging.encoder import ToyEncoder

WEIGHTS = WordWeights.count([])


def _area(merged: str, *sources: Field) -> Area:
    theirs = read_field(merged)
    known = Vocabulary(set().union(*(field.vocabulary for field in sources)))
    strangers = find_strangers([theirs], known)
    return Area(
        (theirs,), sources, Vocabulary(theirs.vocabulary), strangers, False, Vocabulary(set())
    )


def _find(source: str, merged: str) -> list[Change]:
    ours = read_field(source)
    return find_changes([ours], _area(merged, ours), WEIGHTS, ToyEncoder())


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
    first = read_field("It boils at 78 degrees today.")
    second = read_field("There are 12 months.")
    area = _area("It boils at 12 degrees today. There are 12 months.", first, second)

    assert [(each.old, each.new) for each in find_moved([first], area)] == [("78", "12")]
    assert find_moved([second], area) == []


def test_a_number_that_is_gone_is_found_by_its_two_neighbours_and_what_became_more() -> None:
    first = read_field("Let the batter rest for 20 minutes. After that, melt the butter.")
    second = read_field("Bedtime is 7:30.")

    area = _area("Rest the batter for 30 minutes, then melt butter. Bedtime: 7:30.", first, second)

    assert [(each.old, each.new) for each in find_moved([first], area)] == [("20", "30")]
    kept = _area("Rest the batter, then melt butter. In bed for 30 minutes at 7.", first, second)
    assert find_moved([first], kept) == []


def test_a_name_that_stands_elsewhere_too_is_found_in_the_place_of_another() -> None:
    source = read_field("We met Priya and Hanna. Luis prepares the kit and Hanna tests the page.")

    swapped = _area(source.text.replace("Hanna tests", "Priya tests"), source)
    left_out = _area("We met Priya and Hanna. Luis prepares the kit, she tests the page.", source)

    assert [(each.old, each.new) for each in find_moved([source], swapped)] == [("hanna", "priya")]
    assert find_moved([source], left_out) == []
    verb = read_field("State Newton's first law.")
    assert find_moved([verb], _area("Now quote Newton's first law.", verb)) == []


def test_an_identifier_in_the_place_of_a_word_is_another_name() -> None:
    change = _strongest(
        "SELECT name FROM players ORDER BY points", "SELECT name FROM player_stats ORDER BY points"
    )

    assert change is not None and change.strength > 0.6
    assert (change.old, change.new, change.kind) == ("players", "player_stats", "name")


def test_an_old_number_that_still_stands_as_often_is_not_changed() -> None:
    source = "The side is 5 cm long."

    assert _find(source, "First, the side is 20 cm long. Then, the side is 5 cm long.") == []


def test_many_strangers_make_a_change_less_likely() -> None:
    source = "It was written in Paris by Anna Seghers."
    one = _strongest(source, "It was written in Paris by Maria Luisa.")
    crowd = "We read of Plato, of Homer, of Virgil, of Dante, of Goethe, and of Maria Luisa."
    many = _strongest(source, f"It is from Paris. {crowd}")

    assert one is not None and many is not None and many.strength < one.strength
