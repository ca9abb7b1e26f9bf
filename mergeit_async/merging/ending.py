"""Whether a merged output breaks off before its end."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mergeit_async.merging.function_words import FUNCTION_WORDS
from mergeit_async.merging.matching import Vocabulary
from mergeit_async.merging.units import Field, is_number

_ENDED = re.compile(r"[.!?…。！？।؟:;)\]}>»”\"'’`|*%°]\Z")
_OPEN = re.compile(r"[,:(\[{–—-]\Z")
_OPERATOR = re.compile(r"\s(?:[<>=+*/&%-]|[<>=!]=|&&|\|\|)\Z")
_LABEL = re.compile(r"(?:\A|\s)\(?(\d{1,2})[.)]\Z")
_BRACKETS = (("(", ")"), ("[", "]"), ("{", "}"))
# An item of a list, which may end without a full stop where the one before it does too.
_ITEM = re.compile(r"\s*(?:[-*•–]|\(?\d{1,2}[.)])\s+\S")
# How many units make the end of a source's answer.
TAIL = 6
# What each sign of a break says alone, and together with a lost end.
BROKEN, LIKELY = 0.95, 0.8
LOST_END = 0.3
MOST_ROWS = 20
# So many words at the end of an item tell the place in its source; so many characters are read.
LEAST_OF_ITEM, MOST_OF_ITEMS = 3, 2_000
# So long, behind a number, a word may be a unit: min, sec.
MOST_OF_UNIT = 4


def measure_break(output: Field, sources: Sequence[Field], area: Vocabulary) -> float:
    """How surely `output` breaks off, 0 to 1; `sources` are the outputs of the sources."""
    text = output.text.rstrip()
    if not text:
        return 0.0
    is_open = (
        _is_unlike(_OPEN, text, sources)
        or _is_unlike(_OPERATOR, text, sources)
        or _ends_in_label(text)
    )
    is_stump = _is_bare(text) and (_is_hanging(output, sources) or _is_stump(output, sources))
    if _ends_in_short_row(text):
        return BROKEN
    if is_stump or (is_open and _lost_end(sources, area)) or _is_unbalanced(text, sources):
        return BROKEN
    if not _is_bare(text) or _ends_as_one(output, sources):
        return 0.0
    if _lost_end(sources, area) < LOST_END:
        return 0.0
    if _stops_inside(output, sources):
        return 0.0 if _ends_as_item(text, sources) else BROKEN
    return LIKELY if _is_unended(text, sources) else 0.0


def _ends_in_short_row(text: str) -> bool:
    """Whether the last line is a row of a table with fewer cells than the row before it."""
    *before, last = [line.strip() for line in text.splitlines()[-MOST_ROWS:] if line.strip()]
    if not before or not (last.startswith("|") and before[-1].startswith("|")):
        return False
    return last.count("|") < before[-1].count("|")


def _ends_as_one(output: Field, sources: Sequence[Field]) -> bool:
    """Whether a source ends with the same unit: a signature, a verse."""
    return any(field.words and field.words[-1:] == output.words[-1:] for field in sources)


def _is_bare(text: str) -> bool:
    return not _ENDED.search(text[-1:])


def _is_unlike(sign: re.Pattern[str], text: str, sources: Sequence[Field]) -> bool:
    """Whether `text` ends with `sign` and no source does."""
    return bool(sign.search(text[-3:])) and not any(
        sign.search(field.text.rstrip()[-3:]) for field in sources
    )


def _ends_in_label(text: str) -> bool:
    """Whether the last thing is the number of an item, after the number before it."""
    label = _LABEL.search(text[-8:])
    if label is None:
        return False
    return re.search(rf"\b{int(label[1]) - 1}[.)]\s", text) is not None


def _is_unended(text: str, sources: Sequence[Field]) -> bool:
    """Whether the line before the last, or else each source, ends properly."""
    *before, _ = [line for line in text.split("\n") if line.strip()]
    if before:
        return not _is_bare(before[-1].rstrip())
    return all(not _is_bare(field.text.rstrip()) for field in sources if field.text)


def _is_unbalanced(text: str, sources: Sequence[Field]) -> bool:
    for opening, closing in _BRACKETS:
        if text.count(opening) > text.count(closing) and all(
            field.text.count(opening) <= field.text.count(closing) for field in sources
        ):
            return True
    return text.count("```") % 2 == 1 and all(f.text.count("```") % 2 == 0 for f in sources)


def _stops_inside(output: Field, sources: Sequence[Field]) -> bool:
    """Whether the last three units stand inside a source's answer and at the end of none."""
    last = output.words[-3:]
    if len(last) < 3 or any(field.words[-3:] == last for field in sources):
        return False
    return any(
        field.words[at : at + 3] == last
        for field in sources
        for at, word in enumerate(field.words)
        if word == last[0]
    )


def _ends_as_item(text: str, sources: Sequence[Field]) -> bool:
    """Whether the last line is an item, bare as the one before, where a source ends a clause."""
    *before, last = [line.rstrip() for line in text[-MOST_OF_ITEMS:].split("\n") if line.strip()]
    if not before or not all(_ITEM.match(line) and _is_bare(line) for line in (before[-1], last)):
        return False
    end = re.compile(
        rf"{re.escape(' '.join(last.split()[-LEAST_OF_ITEM:]))}[.,;!?\n]", re.IGNORECASE
    )
    return any(end.search(field.text) for field in sources)


def _lost_end(sources: Sequence[Field], area: Vocabulary) -> float:
    return max((_missing_tail(field, area) for field in sources), default=0.0)


def _missing_tail(field: Field, area: Vocabulary) -> float:
    tail = field.words[-TAIL:]
    if not tail:
        return 0.0
    return sum(word not in area.words and not area.has_form_of(word) for word in tail) / len(tail)


def _is_hanging(output: Field, sources: Sequence[Field]) -> bool:
    """Whether the last unit is one that no sentence ends with, and no source either."""
    if len(output.words) < 4:
        return False
    last = output.words[-1]
    ends = {field.words[-1] for field in sources if field.words}
    return last in FUNCTION_WORDS and last not in ends


def _is_stump(output: Field, sources: Sequence[Field]) -> bool:
    """Whether the last unit is the beginning of a source's word, and no word of its own."""
    if not output.words:
        return False
    last = output.words[-1]
    if is_number(output.words[-2:][0]) and len(last) < MOST_OF_UNIT:
        return False
    if len(last) < 2 or any(last in field.vocabulary for field in sources):
        return False
    return last not in output.words[:-1] and any(
        word.startswith(last) for field in sources for word in field.vocabulary
    )
