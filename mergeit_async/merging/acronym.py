"""Names by their initials, and spelled out: WWII and the Second World War."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from mergeit_async.merging.units import Field, fold, read_words

_ACRONYM = re.compile(r"\b[A-Z]{2,7}\b")
# A Roman number at its end is an ordinal before or behind the words.
_ORDINAL = re.compile(r"(?<=[A-Z]{2})I{1,3}\Z")
# Initials of two words stand for names only.
LEAST_OF_WORDS = 3
# Bounds on the work that hostile texts make.
MOST_ACRONYMS, MOST_CHARACTERS = 16, 20_000


def find_renamed(ours: Sequence[Field], theirs: Sequence[Field]) -> set[str]:
    """The units of `ours` that are initials of words of `theirs`, or words of which it has them."""
    renamed = {fold(short) for short, _ in _spell_out(ours, theirs)}
    for _, words in _spell_out(theirs, ours):
        renamed.update(words)
    return renamed


def _spell_out(
    shortened: Iterable[Field], others: Sequence[Field]
) -> Iterable[tuple[str, Sequence[str]]]:
    """The acronyms of `shortened`, each with words of `others` that it is made of."""
    acronyms = {a for each in shortened for a in _ACRONYM.findall(each.text[:MOST_CHARACTERS])}
    for acronym in sorted(acronyms)[:MOST_ACRONYMS]:
        pattern = _as_pattern(_ORDINAL.sub("", acronym))
        for field in others:
            if found := pattern.search(field.text[:MOST_CHARACTERS]):
                yield acronym, read_words(found.group())


def _as_pattern(initials: str) -> re.Pattern[str]:
    """Words with these initials in a row; short ones may stand between them."""
    between = r",?[ -](?:(?:of|and|the|for|de|der|und)[ ]){0,2}"
    words = between.join(rf"{letter}[^\W\d_]+" for letter in initials)
    flags = re.IGNORECASE if len(initials) >= LEAST_OF_WORDS else 0
    return re.compile(rf"\b{words}", flags)
