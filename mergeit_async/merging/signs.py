"""Signs that changed: what stands between units and is none itself, and the case of identifiers.

An operator is looked at between the same two operands, in a source and in the merged row; a sign
of a number the same way. A dash or slash between words is punctuation, which every style changes.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product

from mergeit_async.merging.changes import BETWEEN, Change, is_code
from mergeit_async.merging.strangers import Area
from mergeit_async.merging.units import Field, is_number

_PAIR = re.compile(r"\b(\w{1,40})([^\w\n]{1,6})(?=(\w{1,40}))")
_SPELLINGS = str.maketrans("−–—×·÷", "---**/", " ")
_SIGN = re.compile(r"&&|\|\||[<>!=]=|[-+*/^<>=]")
_MINUS = re.compile(r"[^\w)\]][-−]\Z")
_ANY = re.compile(r"[-−–—+*/^<>=&|×·÷]")
NEGATIVE = "~"
_RELATIONS = frozenset(("<", ">", "<=", ">=", "==", "!=", "=", "&&", "||"))
_PUNCTUATION = frozenset(("-", "/"))
_ONE_WAY = frozenset(("-", "/", "<", ">"))
_EMOJI = re.compile("[\u2600-\u27bf\U0001f000-\U0001faff]")
_CAMEL = re.compile(r"\b[A-Za-z]\w{0,60}[a-z][A-Z]\w{0,60}")
_WORD = re.compile(r"\b[A-Za-z]\w{1,63}\b")
# Words that say a minus, and the units of an answer that says nothing else.
_BELOW = re.compile("minus|negativ|below|under")
SHORT = 3
MOST_CHARACTERS = 20_000

Pair = tuple[str, str]
Signs = Mapping[Pair, set[str]]


def find_resigned(field: Field, area: Area) -> list[Change]:
    """The signs of `field`, of one source, in whose place `area` has another one."""
    found = [*_find_emoji(field, area)]
    if is_code(field.text):
        found += _find_recased(field, area)
    if any(_ANY.search(each.text) for each in (field, *area.merged)):
        found += [*_find_unsigned(field, area), *_find_operators(field, area)]
    return found


def _find_operators(field: Field, area: Area) -> Iterator[Change]:
    ours, theirs, known = _read([field]), _read(area.merged), _read(area.sources)
    for pair, mine in ours.items():
        now = theirs.get(pair, set())
        telling = product(sorted(mine - now), sorted(now - known[pair]))
        for old, new in (each for each in telling if _is_telling(pair, *each)):
            yield Change(_write(pair, old), _write(pair, new), BETWEEN, "expression")
        turned = pair[::-1]
        if all(map(is_number, pair)) and pair not in theirs and turned not in known:
            for sign in sorted(mine & _ONE_WAY & theirs.get(turned, set())):
                yield Change(_write(pair, sign), _write(turned, sign), BETWEEN, "expression")


def _find_unsigned(field: Field, area: Area) -> Iterator[Change]:
    """Numbers of a short answer that have a minus in one of the two rows only.

    A longer one may say in words what the sign says: it fell by 5, it is 5 below zero.
    """
    if len(field.words) > SHORT or any(map(_BELOW.match, area.vocabulary.words)):
        return
    for word in filter(is_number, field.words):
        ours = {sign for each in area.sources for sign in _signs_before(word, each)}
        theirs = {sign for each in area.merged for sign in _signs_before(word, each)}
        if len(ours) == len(theirs) == 1 and ours != theirs:
            yield Change(min(ours) + word, min(theirs) + word, BETWEEN, "number")


def _signs_before(number: str, field: Field) -> set[str]:
    """Whether a minus stands before the places of `number`: "-", "", both, or nothing."""
    places = re.finditer(
        rf"(^|[^\w)\]])([-−]?)(?<![\d.,]){re.escape(number)}(?![.,]?\d)", field.folded
    )
    return {"-" if place[2] else "" for place in places}


def _read(fields: Iterable[Field]) -> Signs:
    """The signs between each two units that follow each other in a line."""
    signs: dict[Pair, set[str]] = defaultdict(set)
    for field in fields:
        for left, between, right in _PAIR.findall(field.folded[:MOST_CHARACTERS]):
            signs[left, right].add(_name(between, right))
    return signs


def _name(between: str, right: str) -> str:
    is_negative = is_number(right) and _MINUS.search(between)
    plain = (between[:-1] if is_negative else between).translate(_SPELLINGS).replace("**", "")
    return "".join(_SIGN.findall(plain)) + (NEGATIVE if is_negative else "")


def _is_telling(pair: Pair, old: str, new: str) -> bool:
    if NEGATIVE in old + new:
        return old.rstrip(NEGATIVE) == new.rstrip(NEGATIVE)
    if {old, new} <= _RELATIONS:
        return True
    is_formula = any(is_number(word) or len(word) == 1 for word in pair)
    return is_formula and bool(old and new) and not {old, new} <= _PUNCTUATION


def _write(pair: Pair, sign: str) -> str:
    minus = "-" if NEGATIVE in sign else ""
    return " ".join(filter(None, (pair[0], sign.rstrip(NEGATIVE), minus + pair[1])))


def _find_emoji(field: Field, area: Area) -> Iterator[Change]:
    """One emoji that is gone, and one that no source has."""
    mine = set(_EMOJI.findall(field.text))
    if not mine:
        return
    theirs, known = _collect(_EMOJI, area.merged), _collect(_EMOJI, area.sources)
    if (lost := mine - theirs) and (new := theirs - known):
        yield Change(min(lost), min(new), BETWEEN, "sign")


def _find_recased(field: Field, area: Area) -> Iterator[Change]:
    """Identifiers with capitals inside, or without, that are written the other way."""
    theirs, known = _collect(_WORD, area.merged), _collect(_WORD, area.sources)
    new = {word.casefold(): word for word in sorted(theirs - known)}
    for word in sorted(set(_WORD.findall(field.text)) - theirs):
        other = new.get(word.casefold(), "")
        if other and (_CAMEL.match(word) or _CAMEL.match(other)):
            yield Change(word, other, BETWEEN, "name")


def _collect(pattern: re.Pattern[str], fields: Sequence[Field]) -> set[str]:
    return {found for field in fields for found in pattern.findall(field.text[:MOST_CHARACTERS])}
