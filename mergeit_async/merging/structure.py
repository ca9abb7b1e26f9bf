"""Printed structures: a Python or JSON list or dictionary where a row should have prose.

Of the published MergeIT rows, 233 inputs and 169 outputs are such prints; most are answers that
the model was asked to give as one JSON object and that it nested.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from mergeit_async.merging.parse import FIELDS
from mergeit_async.records import Example, Row

# The share of a field that makes a structure inside other text "a big part" of it.
BIG_PART = 0.5

# Brackets before a quoted item or before `key:`. These patterns never run over the same text
# twice (bounded repetitions, disjoint runs), so hostile fields cost no more than long ones.
_OPENING = re.compile(r"""[\[{]\s*(?:[\[{]\s*){0,4}(?:['"“‘]|\w+\s*:\s*['"\d\[{])""")
_UNQUOTED = re.compile(r"[\[{][^\[\]{},]*,[^\[\]{}]*[\]}]")
_NUMBERS = re.compile(r"[\[{](?=[^\d]*\d)[-+\d\s.,eE\[\]{}]+[\]}]")
_FIRST_NUMBER = re.compile(r"[\[{]\s*[-+]?\.?\d")
_EMPTY = re.compile(r"[\[{]\s*(?:(?:empty|none|null|no ?input)\s*)?[\]}]", re.IGNORECASE)
_STRING = r"""(?:"[^"\n]*"|'[^'\n]*')"""
_FLAT = re.compile(rf"\[\s*{_STRING}(?:\s*,\s*{_STRING})*\s*\]|\{{\s*{_STRING}\s*:[^{{}}]*\}}")
# What data of a program rarely holds: a numbered item, an item of four words, named answers.
_PROSE = re.compile(
    r"""['"“‘](?:\d+\.\ |(?:[^\s'"“”]+[ ]+){3}[^\s'"“”])|\A[\[{\s]*\{\s*(?:"[^"]*"|'[^']*')\s*:""",
    re.VERBOSE,
)

_ASKS_FOR_STRUCTURE = re.compile(
    r"""\b(?:json|yaml|dict|dictionar(?:y|ies)|arrays?|tuples?|matri(?:x|ces)|vectors?|brackets?
    |(?:python|nested|linked)\ lists?|lists?\ of\ lists|list\ format|data\ structures?
    |key[- ]value|(?:as|in|into|return|output|print)\ (?:(?:an?|the)\ )?(?:\w+\ )?list)\b""",
    re.IGNORECASE | re.VERBOSE,
)
_ASKS_FOR_DATA = re.compile(
    r"""\b(?:lists?|sets?|code|program\w*|functions?|scripts?|algorithms?|python|java\w*|sql
    |regex|html|css|xml|api)\b""",
    re.IGNORECASE | re.VERBOSE,
)


def find_structure(merged: Example, sources: Iterable[Row]) -> str | None:
    """The name of the field of `merged` that is a printed structure, or None.

    No defect if a source shows such a structure, or if the merged instruction asks for one:
    for JSON, arrays and the like in any form; for code or a list as long as no item is prose.
    """
    for field in FIELDS:
        text = getattr(merged, field)
        if ("[" in text or "{" in text) and _is_printed(text.strip(), merged.instruction):
            return None if any(_has_structure(row) for row in sources) else field
    return None


def _is_printed(text: str, instruction: str) -> bool:
    whole = text.rstrip(".,; ")
    if _EMPTY.fullmatch(whole):
        return True
    if not (_is_whole(whole) or _is_big_part(text)):
        return False
    if _ASKS_FOR_STRUCTURE.search(instruction):
        return False
    return not _ASKS_FOR_DATA.search(instruction) or bool(_PROSE.search(text))


def _is_whole(text: str) -> bool:
    if text[:1] not in "[{" or text[-1:] not in "]}":
        return False
    return bool(_OPENING.match(text) or _UNQUOTED.fullmatch(text) or _NUMBERS.fullmatch(text))


def _is_big_part(text: str) -> bool:
    return sum(len(match.group()) for match in _FLAT.finditer(text)) >= BIG_PART * len(text)


def _has_structure(row: Row) -> bool:
    return any(
        pattern.search(text)
        for text in (row.instruction, row.input, row.output)
        for pattern in (_OPENING, _UNQUOTED, _FIRST_NUMBER, _EMPTY)
    )
