"""Signs between units, and measures behind numbers."""

from __future__ import annotations

import pytest

from mergeit_async.merging.comparison import Comparison
from mergeit_async.merging.measures import find_remeasured
from mergeit_async.merging.signs import find_resigned
from mergeit_async.merging.weights import WordWeights
from mergeit_async.records import Example, Row
from tests.merging.encoder import ToyEncoder


def resigned(source: str, merged: str) -> list[tuple[str, str]]:
    return _find(find_resigned, source, merged)


def remeasured(source: str, merged: str) -> list[tuple[str, str]]:
    return _find(find_remeasured, source, merged)


def _find(find: object, source: str, merged: str) -> list[tuple[str, str]]:
    assert callable(find)
    row = Row("a", "Answer.", "", source, 0, 1)
    compared = Comparison(
        Example("Answer.", "", merged), [row], WordWeights.count([]), ToyEncoder()
    )
    found = find(compared.sources[0].output, compared.answers)
    return [(change.old, change.new) for change in found]


@pytest.mark.parametrize(
    ("source", "merged", "change"),
    [
        ("So now x = -5", "It is x = 5.", ("x = -5", "x = 5")),
        ("-5", "It is 5.", ("-5", "5")),
        ("The result is 5.", "The result is −5.", ("is 5", "is -5")),
        ("return a + b", "def add(a, b): return a - b", ("a + b", "a - b")),
        ("if count < limit:", "if count > limit:", ("count < limit", "count > limit")),
        ("4 × 12 = 48", "4 ÷ 12 = 48", ("4 * 12", "4 / 12")),
        ("It lasted 1914–1918.", "It lasted 1918–1914.", ("1914 - 1918", "1918 - 1914")),
        ("if a && b", "if a || b", ("a && b", "a || b")),
        ("Well done 😀", "Well done 😢", ("😀", "😢")),
        (
            "x = getUserName(1); print(x)",
            "x = getusername(1); print(x)",
            ("getUserName", "getusername"),
        ),
    ],
)
def test_another_sign_in_the_same_place_is_a_change(
    source: str, merged: str, change: tuple[str, str]
) -> None:
    assert resigned(source, merged) == [change]


@pytest.mark.parametrize(
    ("source", "merged"),
    [
        ("It lasted 1914-1918.", "1914 – 1918 was its time."),
        ("4 * 12 = 48", "4 × 12 = 48"),
        ("Mon-Fri from 9-17", "Mon/Fri from 9/17"),
        ("- 5 apples\n- 3 pears", "5 apples, 3 pears"),
        ("It is -5 here.", "It is minus 5 here."),
        ("a + b", "the sum of a and b"),
        ("Well done 😀", "Well done!"),
        ("SELECT name FROM t WHERE id = 1;", "select name from t where id = 1;"),
        ("Price = 5 euros", "Price: 5 euros"),
        ("13/52 = 1/4", "13/52, that is 1/4"),
    ],
)
def test_another_style_is_no_change(source: str, merged: str) -> None:
    assert resigned(source, merged) == []


@pytest.mark.parametrize(
    ("source", "merged", "change"),
    [
        ("It is 5 km away.", "It lies 5 miles from here.", ("5 km", "5 miles")),
        ("At 20 °C.", "20 °F it is.", ("20 c", "20 f")),
        ("Wait 2 hours.", "Wait for 2 days.", ("2 hours", "2 days")),
    ],
)
def test_another_unit_of_the_same_number_is_a_change(
    source: str, merged: str, change: tuple[str, str]
) -> None:
    assert remeasured(source, merged) == [change]


@pytest.mark.parametrize(
    ("source", "merged"),
    [
        ("It is 5 km away.", "It lies 5 kilometres from here."),
        ("It takes 2 h.", "It takes 2 hours, or 120 minutes."),
        ("Add 1,000 g of it.", "Add 1000 grams, which is 1 kg."),
        ("5 pounds of it", "5 lb of it"),
        ("It has 5 rooms.", "5 chambers it has."),
    ],
)
def test_the_same_unit_in_other_words_is_no_change(source: str, merged: str) -> None:
    assert remeasured(source, merged) == []
