"""Short answers, which a longer one may hold by chance, and those that are yes or no."""

from __future__ import annotations

from collections.abc import Sequence

from mergeit_async.merging.strangers import Area
from mergeit_async.merging.units import Field, Units

_OPPOSITES = (
    ("yes", "no"),
    ("true", "false"),
    ("correct", "incorrect"),
    ("positive", "negative"),
    ("ja", "nein"),
    ("ja", "nee"),
    ("oui", "non"),
    ("vrai", "faux"),
    ("sí", "no"),
    ("sì", "no"),
    ("sim", "não"),
    ("да", "нет"),
    ("نعم", "لا"),
    ("हाँ", "नहीं"),
)


def find_holder(at: int, rows: Sequence[Units], merged: Field) -> Field | None:
    """The longer answer of another row in which alone that of row `at` stands in `merged`."""
    answer = rows[at].output.folded
    for row in rows if answer else ():
        longer = row.output.folded
        if len(longer) <= len(answer) or answer not in longer or longer not in merged.folded:
            continue
        if answer not in merged.folded.replace(longer, "\n", 1):
            return row.output
    return None


def find_flipped(output: Field, area: Area) -> tuple[str, str]:
    """The word that `output` begins with, and its opposite, which `area` says instead.

    A yes too few and a no too many: either alone may be style.
    """
    first = output.words[0] if output.words else ""
    for pair in _OPPOSITES:
        for word, opposite in (pair, pair[::-1]):
            if word == first and area.lacks(word) and area.exceeds(opposite):
                return word, opposite
    return "", ""
