from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergeit_async.simulator.abilities import refuse_unable, say_object, wants_object
from mergeit_async.simulator.calls import read_call
from mergeit_async.simulator.settings import Logprobs, SimulatorSettings, Structured

TEXT = {"type": "text"}
OBJECT = {"type": "json_object"}
SCHEMA: dict[str, Any] = {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}


def refusal(structured: Structured, form: Any, prompt: str = "JSON!") -> tuple[int, Any] | None:
    """Status and error that a call with this form meets."""
    return told(SimulatorSettings(structured=structured), prompt, response_format=form)


def told(settings: SimulatorSettings, prompt: str, **members: Any) -> tuple[int, Any] | None:
    turns = [{"role": "user", "content": prompt}]
    call = read_call(orjson.dumps({"model": "m", "messages": turns, **members}))
    answer = refuse_unable(call, settings)
    return (answer.status, orjson.loads(answer.body)["error"]) if answer else None


@pytest.mark.parametrize(
    ("structured", "taken"),
    [
        ("json_schema", [TEXT, OBJECT, SCHEMA]),
        ("json_object", [TEXT, OBJECT]),
        ("none", []),
        ("ignored", [TEXT, OBJECT, SCHEMA]),
        ("broken", []),
    ],
)
def test_a_server_takes_the_forms_it_knows(
    structured: Structured, taken: list[dict[str, Any]]
) -> None:
    assert [form for form in (TEXT, OBJECT, SCHEMA) if not refusal(structured, form)] == taken


@pytest.mark.parametrize("structured", ["json_schema", "json_object", "none", "ignored", "broken"])
def test_a_call_that_asks_for_nothing_is_taken_by_all(structured: Structured) -> None:
    assert told(SimulatorSettings(structured=structured, logprobs="refused"), "hi") is None
    assert refusal(structured, None) is None


def test_a_schema_is_refused_in_the_words_of_openai() -> None:
    refused = refusal("json_object", SCHEMA)

    assert refused
    assert refused[0] == 400
    assert refused[1]["message"].startswith(
        "Invalid parameter: 'response_format' of type 'json_schema' is not supported"
    )
    assert (refused[1]["param"], refused[1]["type"]) == ("response_format", "invalid_request_error")


def test_a_server_without_forms_does_not_know_the_parameter() -> None:
    refused = refusal("none", OBJECT)

    assert refused
    assert (refused[0], refused[1]["code"]) == (400, "unknown_parameter")
    assert refused[1]["param"] == "response_format"


@pytest.mark.parametrize("form", [TEXT, OBJECT, SCHEMA])
def test_a_broken_server_fails(form: dict[str, Any]) -> None:
    refused = refusal("broken", form)

    assert refused
    assert (refused[0], refused[1]["type"]) == (500, "server_error")


@pytest.mark.parametrize("structured", ["json_schema", "json_object"])
def test_an_object_has_to_be_asked_for_in_words_too(structured: Structured) -> None:
    refused = refusal(structured, OBJECT, "Say something.")

    assert refused
    assert (refused[0], refused[1]["param"]) == (400, "messages")
    assert refusal(structured, OBJECT, "Say some json.") is None
    assert refusal("json_schema", SCHEMA, "Say something.") is None


@pytest.mark.parametrize(
    "form",
    [
        "json_object",
        7,
        {},
        {"type": "xml"},
        {"type": ["json_object"]},
        {"type": "json_schema"},
        {"type": "json_schema", "json_schema": {"name": "x"}},
        {"type": "json_schema", "json_schema": "x"},
    ],
)
def test_a_form_that_is_none_is_a_bad_request(form: Any) -> None:
    refused = refusal("json_schema", form)

    assert refused
    assert refused[0] == 400
    assert "response_format" in refused[1]["message"]
    assert refusal("ignored", form) is None


@pytest.mark.parametrize(
    ("logprobs", "status"), [("offered", None), ("refused", 400), ("ignored", None)]
)
def test_probabilities_may_be_refused(logprobs: Logprobs, status: int | None) -> None:
    settings = SimulatorSettings(logprobs=logprobs)
    refused = told(settings, "hi", logprobs=True, top_logprobs=3)

    assert (refused and refused[0]) == status
    assert not refused or refused[1]["param"] == "logprobs"
    assert told(settings, "hi", logprobs=False) is None


def filled(schema: Any) -> Any:
    said = say_object({"type": "json_schema", "json_schema": {"schema": schema}}, "words")
    return orjson.loads(said or "")


def test_an_object_has_what_its_schema_requires() -> None:
    schema = {
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "count": {"type": "integer"},
            "is_so": {"type": ["boolean", "null"]},
            "mood": {"enum": ["good", "bad"]},
            "parts": {"type": "array", "items": {"type": "object", "required": ["a"]}},
            "either": {"anyOf": [{"type": "null"}, {"type": "string"}]},
            "spare": {"type": "string"},
        },
        "required": ["text", "count", "is_so", "mood", "parts", "either"],
    }

    assert filled(schema) == {
        "text": "words",
        "count": 1,
        "is_so": True,
        "mood": "good",
        "parts": [{"a": "words"}],
        "either": None,
    }


def test_where_nothing_is_required_all_is_given() -> None:
    assert filled({"type": "object", "properties": {"a": {"type": "string"}}}) == {"a": "words"}


def test_a_schema_of_many_levels_is_filled_as_far_as_makes_sense() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(900):
        schema = {"type": "array", "items": schema}

    assert "words" in str(filled(schema))


NAMES = st.sampled_from(["type", "properties", "required", "items", "enum", "anyOf", "a"])
LEAVES = st.none() | st.integers(0, 2) | st.sampled_from(["object", "array", "string", "a"])
ODD = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner))


@given(ODD)
def test_no_schema_is_too_odd_to_be_filled(schema: Any) -> None:
    filled(schema)


def test_plain_text_is_no_object() -> None:
    assert say_object(TEXT, "words") is None
    assert say_object(None, "words") is None
    assert [wants_object(form) for form in (None, TEXT, OBJECT, SCHEMA)] == [
        False, False, True, True,
    ]  # fmt: skip
