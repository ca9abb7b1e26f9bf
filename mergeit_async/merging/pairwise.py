"""Which of two merges of the same rows is better, by a model: asked for and read.

A judge may lean to the row that it is shown first (Zheng et al., arXiv 2306.05685), so whoever
compares asks in both orders; `Preference.turned` puts the answer to the second into the first's
terms.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol

from mergeit_async.merging.messages import build_response_format, identify_request
from mergeit_async.merging.parse import find_objects
from mergeit_async.records import ChatRequest, Example, Message, Refusal, Row

# For prompts that name none: the likeliest answer, and room for a short object or sentence.
DEFAULT_PARAMETERS: Mapping[str, float | int] = {"temperature": 0.0, "max_output_tokens": 16}
FORM_NAME = "preference"
_KEYS = ("better", "preference", "winner", "verdict", "answer")

_LETTER = r"[*_`\"'“”«»\[(]*(?:(?:row|example|candidate|option|answer)\s+)?[*_`\"'“”«»\[(]*"
_NAMED = r"(?P<named>a|b|t|tie|tied|draw|equal|equally good|neither|both)(?![^\W_])"
_ENDING = r"[*_`\"'“”«»\])]*"
# The whole of a line, such as **B**. or Answer: Tie
_ALONE = re.compile(
    rf"\s*(?:(?:my\s+)?(?:answer|verdict|choice|winner|preference|better)\s*(?:is\s*:?|[:=\-–—])\s*)?"
    rf"{_LETTER}{_NAMED}{_ENDING}\s*[.!]?\s*",
    re.IGNORECASE,
)
# Within a sentence; a small "a" is an article there.
_BETTER = re.compile(
    r"(?<![^\W_])(?P<named>A|B)[*_`\"'”»\])]*\s+(?:(?:is|was|seems)\s+(?:(?:clearly|much|slightly|"
    r"somewhat|the|a\s+bit|a\s+little|overall)\s+){0,3}(?:better|stronger|winner|preferable)|wins)"
    r"(?![^\W_])"
)
_OPENING = re.compile(r"[*_`\"'“\[(]*(?P<named>A|B|T)[*_`\"'”\])]*\s*(?:[.:;,\n—–]|-\s|$)")
# Who discusses both under their letters has not answered with the first of them.
_LABEL = re.compile(r"(?<![^\W_])(?P<named>A|B)[*_`\"'”\])]*\s*[:—–]")
_EXCERPT_CHARACTERS = 80


class Preference(StrEnum):
    """What a judge says of a pair."""

    A = "A"
    B = "B"
    TIE = "tie"

    @property
    def turned(self) -> Preference:
        """The same with A and B the other way round."""
        return {Preference.A: Preference.B, Preference.B: Preference.A}.get(self, self)


class PairJudge(Protocol):
    """A prompt version that compares: the turns that never change, and the turn for a pair."""

    @property
    def parameters(self) -> Mapping[str, float | int]:
        """Defaults of the call: temperature, max_output_tokens."""

    @property
    def schema(self) -> Mapping[str, Any]:
        """The JSON schema of the reply."""

    @property
    def preamble(self) -> tuple[Message, ...]:
        """The system message, the same in every call."""

    def ask(self, rows: Sequence[Row | Example], a: Row | Example, b: Row | Example) -> str:
        """The user turn that asks which of `a` and `b` is the better merge of `rows`."""


def build_preference_request(
    prompt: PairJudge,
    sources: Sequence[Row | Example],
    a: Row | Example,
    b: Row | Example,
    *,
    endpoint: str,
    model: str,
    sample: int = 0,
    form: str = "text",
) -> ChatRequest:
    """The `sample`-th request which of `a` and `b`, merges of `sources`, is better, with its key.

    `form` is text, json_object or json_schema; any other raises ValueError.
    """
    chosen = {**DEFAULT_PARAMETERS, **prompt.parameters}
    draft = ChatRequest(
        key="",
        model=model,
        messages=(*prompt.preamble, Message("user", prompt.ask(sources, a, b))),
        temperature=float(chosen["temperature"]),
        max_tokens=int(chosen["max_output_tokens"]),
        sample=sample,
        estimated_prompt_tokens=0,
        response_format=build_response_format(form, prompt.schema, FORM_NAME),
    )
    return identify_request(draft, endpoint, prompt.preamble)


def read_preference(text: str) -> Preference | Refusal:
    """What a reply says of the pair, or why it says nothing. Never raises.

    Read are an object with the key better, a line of nothing but the answer (A, B, T, tie), the
    letter that a reply begins with, and sentences such as "B is better". The first of these that is
    there counts; where it names both, the reply is refused as judge_unreadable, like one with none.
    """
    for read in (_read_objects, _read_lines, _read_opening, _read_sentences):
        if named := set(read(text)):
            break
    else:
        return Refusal("judge_unreadable", f"the judge prefers neither in {_excerpt(text)}")
    if len(named) > 1:
        return Refusal("judge_unreadable", f"the judge says more than one thing: {_excerpt(text)}")
    return named.pop()


def _read_objects(text: str) -> Iterator[Preference]:
    for found in find_objects(text):
        values = (found[key] for key in _KEYS if key in found)
        for value in values:
            if isinstance(value, str) and (match := _ALONE.fullmatch(value)):
                yield _to_preference(match["named"])


def _read_lines(text: str) -> Iterator[Preference]:
    # Of a long reply the answer stands at its beginning or end, and every line is a try.
    lines = [line for line in text.splitlines() if line.strip()]
    for line in lines[:1] + lines[-1:]:
        if match := _ALONE.fullmatch(line[:_EXCERPT_CHARACTERS]):
            yield _to_preference(match["named"])


def _read_opening(text: str) -> Iterator[Preference]:
    labels = {match["named"] for match in _LABEL.finditer(text)}
    if len(labels) < 2 and (match := _OPENING.match(text.lstrip())):
        yield _to_preference(match["named"])


def _read_sentences(text: str) -> Iterator[Preference]:
    for match in _BETTER.finditer(text):
        yield _to_preference(match["named"])


def _to_preference(named: str) -> Preference:
    return Preference(named.upper()) if named.upper() in ("A", "B") else Preference.TIE


def _excerpt(text: str) -> str:
    return repr(text[:_EXCERPT_CHARACTERS]) if text.strip() else "an empty reply"
