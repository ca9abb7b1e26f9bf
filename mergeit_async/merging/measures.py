"""The same number of another unit of measure: 5 miles for 5 km."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from mergeit_async.merging.changes import BETWEEN, Change
from mergeit_async.merging.strangers import Area
from mergeit_async.merging.units import Field, is_number, number_value

# Each with its spellings; a plural s goes without saying.
_MEASURES = (
    "mm millimetre millimeter",
    "cm centimetre centimeter",
    "m metre meter",
    "km kilometre kilometer",
    "mi mile",
    "ft foot feet",
    "yd yard",
    "mg milligram",
    "g gram gramme gramm",
    "kg kilo kilogram kilogramm",
    "t ton tonne",
    "lb pound",
    "oz ounce",
    "ml millilitre milliliter",
    "l litre liter",
    "gallon",
    "sec s second",
    "min minute",
    "h hr hour",
    "day",
    "week",
    "month",
    "year",
    "w watt",
    "kw kilowatt",
    "v volt",
    "kb kilobyte",
    "mb megabyte",
    "gb gigabyte",
    "tb terabyte",
    "dollar usd",
    "euro eur",
    "pound gbp",
    "c celsius",
    "f fahrenheit",
    "hectare ha",
    "acre",
)
_NAMES: dict[str, set[str]] = defaultdict(set)
for _measure in _MEASURES:
    for _word in _measure.split():
        _NAMES[_word].add(_measure)

Amounts = Mapping[str, Mapping[str, str]]


def find_remeasured(field: Field, area: Area) -> list[Change]:
    """The numbers of `field`, of one source, that `area` has with another unit, and with no own."""
    ours = _read([field])
    if not ours:
        return []
    theirs, known = _read(area.merged), _read(area.sources)
    found = []
    for number, mine in sorted(ours.items()):
        now = theirs.get(number, {})
        new = sorted(word for name, word in now.items() if name not in known[number])
        if new and mine.keys().isdisjoint(now):
            old = min(mine.values())
            found.append(Change(f"{number} {old}", f"{number} {new[0]}", BETWEEN, "measure"))
    return found


def _read(fields: Iterable[Field]) -> Amounts:
    """Per number the units behind it, each with the word that is written."""
    amounts: dict[str, dict[str, str]] = defaultdict(dict)
    for field in fields:
        words = field.words
        for at in range(1, len(words)):
            if is_number(words[at - 1]) and (names := _NAMES.get(_singular(words[at]))):
                number = number_value(words[at - 1])
                amounts[number].update(dict.fromkeys(names, words[at]))
    return amounts


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 2 and word.endswith("s") else word
