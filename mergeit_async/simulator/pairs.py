"""Two merges compared without a model: the one that keeps more words of the sources is better."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mergeit_async.simulator.calls import ChatCall, format_type
from mergeit_async.simulator.weaving import Source, find_sources

A, B, TIE = "A", "B", "tie"
# What stands before each of the two; in the JSON of a row the quotation marks would be escaped.
_MARKS = ('<candidate name="A">', '<candidate name="B">')
_WORD = re.compile(r"\w+")


class Pair(NamedTuple):
    """Two merged rows and the rows that both were made of."""

    sources: Sequence[Source]
    a: Source
    b: Source


def find_pair(call: ChatCall) -> Pair | None:
    """The pair that `call` has compared; None where it asks for something else.

    Told by the marks of the candidates, or by a schema of which a member is A, B or something else;
    then the last two rows are the candidates.
    """
    places = [call.prompt.find(mark) for mark in _MARKS]
    if min(places) >= 0:
        return _find_marked(call.prompt, *places)
    rows = find_sources(call.prompt)
    return Pair(rows[:-2], rows[-2], rows[-1]) if find_choice(call.response_format) else None


def find_choice(form: Any) -> tuple[str, Sequence[Any]] | None:
    """The member of a form's schema that is A, B or something else, with its values."""
    if format_type(form) != "json_schema":
        return None
    members = form["json_schema"]["schema"].get("properties")
    for name, part in members.items() if isinstance(members, dict) else ():
        values = part.get("enum") if isinstance(part, dict) else None
        if isinstance(values, list) and A in values and B in values:
            return name, values
    return None


def prefer(pair: Pair) -> str:
    """A, B or TIE, by how many different words of the sources each has."""
    words = _words_of(pair.sources)
    kept_a, kept_b = (len(words & _words_of([row])) for row in (pair.a, pair.b))
    if kept_a == kept_b:
        return TIE
    return A if kept_a > kept_b else B


def say_choice(choice: str, form: Any) -> Mapping[str, Any] | None:
    """The choice as the object that `form` asks for; None for plain text."""
    if found := find_choice(form):
        name, values = found
        others = [value for value in values if value not in (A, B)]
        return {name: others[0] if choice == TIE and others else choice}
    return {"better": choice} if format_type(form) == "json_object" else None


def _find_marked(prompt: str, at_a: int, at_b: int) -> Pair | None:
    """The first row after each mark is a candidate, all others are sources."""
    start = min(at_a, at_b)
    rows = find_sources(prompt[:start])
    first, second = (
        find_sources(prompt[start : max(at_a, at_b)]),
        find_sources(prompt[max(at_a, at_b) :]),
    )
    if not (first and second):
        return None
    a, b = (first[0], second[0]) if at_a < at_b else (second[0], first[0])
    return Pair([*rows, *first[1:], *second[1:]], a, b)


def _words_of(rows: Sequence[Source]) -> set[str]:
    return {
        word for row in rows for text in row.values() for word in _WORD.findall(text.casefold())
    }
