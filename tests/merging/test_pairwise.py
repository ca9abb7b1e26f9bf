"""Which of two merges is better: what is asked, and how answers are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergeit_async.merging.pairwise import (
    DEFAULT_PARAMETERS,
    Preference,
    build_preference_request,
    read_preference,
)
from mergeit_async.records import ChatRequest, Example, Message, Refusal, Row

A, B, TIE = Preference.A, Preference.B, Preference.TIE
ONE, OTHER, LONG = Example("Add.", "1 2", "3"), Example("Sum.", "", "4"), Example("x" * 400, "", "")


class Pairs:
    """A prompt of a few words, to see what the request adds."""

    preamble = (Message("system", "Compare."),)
    schema: Mapping[str, Any] = {
        "properties": {"better": {"type": "string", "enum": ["A", "B", "tie"]}},
        "required": ["better"],
        "additionalProperties": False,
    }

    def __init__(self, **parameters: float) -> None:
        self.parameters = parameters

    def ask(self, rows: Sequence[Row | Example], a: Row | Example, b: Row | Example) -> str:
        return f"{[row.output for row in rows]}: {a.output} or {b.output}? {a.instruction}"


def _build(
    a: Example = ONE, b: Example = OTHER, prompt: Pairs | None = None, **more: Any
) -> ChatRequest:
    given = {"endpoint": "main", "model": "m", **more}
    return build_preference_request(prompt or Pairs(), [ONE, OTHER], a, b, **given)


def test_the_pair_follows_the_preamble() -> None:
    request = _build()

    assert request.messages == (
        Message("system", "Compare."),
        Message("user", "['3', '4']: 3 or 4? Add."),
    )
    assert request.response_format == b""
    assert (request.temperature, request.max_tokens) == tuple(DEFAULT_PARAMETERS.values())
    assert _build(LONG).estimated_prompt_tokens > request.estimated_prompt_tokens + 80


def test_the_parameters_of_the_prompt_are_sent() -> None:
    request = _build(prompt=Pairs(temperature=0.7, max_output_tokens=3))

    assert (request.temperature, request.max_tokens) == (0.7, 3)


@pytest.mark.parametrize(
    "changed",
    [
        {"a": LONG},
        {"b": ONE},
        {"a": OTHER, "b": ONE},
        {"model": "n"},
        {"sample": 1},
        {"endpoint": "x"},
        {"form": "json_object"},
        {"prompt": Pairs(temperature=1.0)},
    ],
)
def test_each_part_of_a_call_is_in_its_key(changed: dict[str, Any]) -> None:
    assert _build().key == _build().key
    assert _build(**changed).key != _build().key


def test_a_form_asks_for_the_schema_of_the_prompt() -> None:
    form = orjson.loads(_build(form="json_schema").response_format)

    assert form["json_schema"] == {"name": "preference", "strict": True, "schema": Pairs.schema}
    with pytest.raises(ValueError, match="yaml"):
        _build(form="yaml")


@pytest.mark.parametrize(
    ("text", "preference"),
    [
        ("A", A),
        ("B", B),
        ("T", TIE),
        (" b.\n", B),
        ("**B**", B),
        ("**A**.", A),
        ("'A'", A),
        ("(B)", B),
        ("[[A]]", A),
        ("Tie", TIE),
        ("neither", TIE),
        ("Answer: B", B),
        ("My verdict is: **T**", TIE),
        ("Better: A", A),
        ("Row B", B),
        ("Candidate A.", A),
        ('{"better": "A"}', A),
        ('{"better": "tie"}', TIE),
        ('{"Better": "b"}', B),
        ('```json\n{"better": "B"}\n```', B),
        ('{"reason": "A is longer", "better": "B"}', B),
        ('{"better": "Candidate A"}', A),
        ("A, because it keeps the second task.", A),
        ("B: it keeps the numbers that A lost.", B),
        ("B\n\nIt keeps more.", B),
        ("A keeps the tone but loses a task.\n\nVerdict: B", B),
        ("Both are fine.\nT", TIE),
        ("I think that B is better.", B),
        ("On the whole, **A** is clearly better than the other.", A),
        ("Candidate B is the better one, since it keeps all.", B),
        ("So B wins.", B),
        ("A: loses a task. B: keeps both, so B is better.", B),
        ("A — loses a task.\nB — keeps both.\n\nBetter: B", B),
    ],
)
def test_a_preference_is_read_as_models_write_it(text: str, preference: Preference) -> None:
    assert read_preference(text) == preference


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "C",
        "AB",
        "a row of two tasks is hard to judge",
        "A row of two tasks is hard to judge",
        "Better safe than sorry.",
        "Both rows have their strengths, and it depends.",
        '{"better": "C"}',
        '{"better": ["A"]}',
        "A\nB",
        '{"better": "A"} {"better": "B"}',
        "A is better in tone, but B is better in content.",
        "I cannot compare these.",
        "A is worse than the other.",
        "A is longer.",
        "A is not better.",
        "A: loses a task. B: keeps both.",
    ],
)
def test_what_says_neither_or_both_is_refused(text: str) -> None:
    refusal = read_preference(text)

    assert isinstance(refusal, Refusal)
    assert refusal.reason == "judge_unreadable"
    assert repr(text[:80]) in refusal.detail or "an empty reply" in refusal.detail


@given(st.text() | st.text('AB{}":\n better*tie'))
def test_any_text_is_read_or_refused(text: str) -> None:
    assert isinstance(read_preference(text), Preference | Refusal)


def test_the_answer_to_the_other_order_is_turned() -> None:
    assert [each.turned for each in (A, B, TIE)] == [B, A, TIE]
