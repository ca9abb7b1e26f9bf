"""Replies as models write them, and as they should not."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mergeit_async.merging.parse import (
    FIELDS,
    MAX_STARTS,
    find_objects,
    parse_reply,
)
from mergeit_async.records import Example, Refusal

ROW = Example("Add.", "1 2", "3")
JSON = '{"instruction": "Add.", "input": "1 2", "output": "3"}'


def _reason(text: str) -> str:
    refusal = parse_reply(text)
    assert isinstance(refusal, Refusal)
    return refusal.reason


@pytest.mark.parametrize(
    "text",
    [
        JSON,
        f"```json\n{JSON}\n```",
        f"Here is the merge {{as asked}}:\n{JSON}\nAnything else?",
        f"[{JSON}]",
        f'{{"result": {JSON}}}',
        f'{{"note": "two"}} {JSON}',
        f'{{"instruction": "draft"}} {JSON}',
        f'Use {{ and "quotes" freely. {JSON} }}',
        f'{JSON} {{"instruction": "x", "input": "y", "output": "z"}}',
        '{"instruction": "Add.", "input": "1 2", "output": "3", "why": ["x"]}',
        '{" Instruction ": " Add.\\r\\n", "INPUT": "1 2", "Output": 3}',
        '{"instruction": "draft", "output": "0"} then ' + JSON,
        '{"input": "1 2"} {"instruction": "Add.", "input ": "1 2", "output": "3"}',
    ],
)
def test_the_object_is_found(text: str) -> None:
    assert parse_reply(text) == ROW


NOTES = '"contents": [{"asked": "Add.", "data": ["1 2"], "facts": ["3"]}]'


@pytest.mark.parametrize(
    "text",
    [
        "{" + NOTES + ", " + JSON[1:],
        JSON[:-1] + ", " + NOTES + "}",
        "```json\n{" + NOTES + ", " + JSON[1:] + "\n```",
        '{"contents": {"instruction": "x", "input": "y", "output": "z"}, ' + JSON[1:],
        '{"INSTRUCTION": "x", ' + JSON[1:],
    ],
)
def test_a_row_is_found_beside_notes(text: str) -> None:
    assert parse_reply(text) == ROW


def test_notes_that_break_off_are_told_as_that() -> None:
    refusal = parse_reply("{" + NOTES + ', "instruction": "Add')

    assert isinstance(refusal, Refusal)
    assert refusal.reason == "no_json"
    assert "breaks off" in refusal.detail


def test_raw_line_breaks_and_braces_inside_strings_are_text() -> None:
    reply = '{"instruction": "Explain {x}.", "input": "a\r\nb\tc", "output": "if (x) { \\"y\\" }"}'

    assert parse_reply(reply) == Example("Explain {x}.", "a\nb\tc", 'if (x) { "y" }')


@pytest.mark.parametrize(
    "value", ["null", '""', '"  "', '"noinput"', '"<noinput>"', '"No input."', '"[noinput]"']
)
def test_an_input_that_says_there_is_none_is_empty(value: str) -> None:
    parsed = parse_reply(f'{{"instruction": "a", "input": {value}, "output": "b"}}')

    assert parsed == Example("a", "", "b")


def test_a_missing_input_is_empty() -> None:
    assert parse_reply('{"instruction": "a", "output": "b"}') == Example("a", "", "b")


def test_numbers_keep_the_digits_that_were_written() -> None:
    many = "9" * 5000

    parsed = parse_reply(f'{{"instruction": "a", "input": 1.50, "output": {many}}}')

    assert parsed == Example("a", "1.50", many)


@pytest.mark.parametrize("value", ["[]", '["a", "b"]', '{"x": "y"}', "true", "[1]"])
@pytest.mark.parametrize("field", ["instruction", "input", "output"])
def test_what_is_no_text_is_refused_and_not_joined(field: str, value: str) -> None:
    fields = {"instruction": '"a"', "input": '"b"', "output": '"c"'} | {field: value}
    reply = ", ".join(f'"{name}": {text}' for name, text in fields.items())

    assert _reason(f"{{{reply}}}") == "wrong_type"


def test_a_row_inside_a_field_is_not_taken_for_the_reply() -> None:
    assert _reason(f'{{"instruction": "a", "output": {JSON}}}') == "wrong_type"


def test_an_object_that_answers_goes_before_one_that_does_not() -> None:
    reply = '{"input": "draft"} {"instruction": "a", "output": "b"}'

    assert parse_reply(reply) == Example("a", "", "b")


@pytest.mark.parametrize("field", ["instruction", "output"])
def test_a_missing_field_is_named(field: str) -> None:
    fields = {"instruction": "a", "input": "b", "output": "c"}
    absent = json.dumps({name: text for name, text in fields.items() if name != field})
    null = json.dumps(fields | {field: None})

    assert (_reason(absent), _reason(null)) == ("missing_field", "missing_field")


@pytest.mark.parametrize(
    "text", ["", "Sure!", "[1, 2]", '"text"', JSON[:-2], "{'instruction': 'a', 'output': 'b'}"]
)
def test_a_reply_without_an_object_is_refused(text: str) -> None:
    assert _reason(text) == "no_json"


def test_half_a_surrogate_pair_is_refused_and_a_whole_one_is_text() -> None:
    half = '{"instruction": "a", "output": "\\ud83d"}'
    whole = '{"instruction": "a", "output": "\\ud83d\\ude00"}'

    assert _reason(half) == "bad_text"
    assert parse_reply(whole) == Example("a", "", "😀")


def _find_error(text: str) -> str | None:
    parsed = parse_reply(text)
    return parsed.detail if isinstance(parsed, Refusal) else None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("\n", "the reply is empty; it has to be one JSON object"),
        ("Sure!", "the reply holds no JSON object; it begins with 'Sure!'"),
        ('{"instruction": "a", "output": "say "x""}', "the JSON object of the reply breaks off"),
        (JSON[:-2], "the JSON object of the reply breaks off or is not valid; close it"),
        ('{"instruction": "a"}', '"output" is missing in the JSON object of the reply'),
        ('{"instruction": null, "output": "b"}', '"instruction" is null in the JSON object'),
        ('{"instruction": "a", "output": ["b"]}', '"output" is an array; it has to be one string'),
        ('{"instruction": "a", "output": {"b": 1}}', '"output" is an object; it has to be one'),
        ('{"instruction": "a", "output": true}', '"output" is true or false; it has to be one'),
        ('{"instruction": "a", "output": "\\ud83d"}', "a string of the reply escapes half of"),
    ],
)
def test_a_model_is_told_in_a_sentence_what_is_wrong(text: str, sentence: str) -> None:
    error = _find_error(text)

    assert error is not None
    assert error.startswith(sentence)
    assert len(error) < 250
    assert error.encode()


def test_nothing_is_wrong_with_a_row() -> None:
    assert _find_error(JSON) is None


@given(st.text())
def test_no_text_raises(text: str) -> None:
    assert isinstance(parse_reply(text), Example | Refusal)


@given(st.text('{}[]",:\\ abinstructionoutput\n'))
def test_no_text_that_looks_like_json_raises(text: str) -> None:
    assert isinstance(parse_reply(text), Example | Refusal)


PLAIN = st.text(min_size=1).map(lambda text: text.replace("\r", "").strip()).filter(len)


@given(PLAIN, PLAIN, st.text('abc {}[]",:.\n'), st.booleans())
def test_what_was_written_as_json_is_read_back(
    instruction: str, output: str, prose: str, ascii_only: bool
) -> None:
    value = {"instruction": instruction, "input": "", "output": output}
    reply = json.dumps(value, ensure_ascii=ascii_only)

    assert parse_reply(reply + prose) == Example(instruction, "", output)


KEYS = st.sampled_from(["instruction", "input", "output", "Input ", "OUTPUT", "why"])
VALUES = (
    st.text(st.characters() | st.sampled_from("\r\n {}<")) | st.none() | st.floats() | st.booleans()
)


@given(st.dictionaries(KEYS, VALUES, max_size=4), st.booleans())
@example({"instruction": "\ud83d", "input": "", "output": "\ude00"}, True)
@example({"instruction": "a", "input": "b", "Input ": "c", "output": "d"}, True)
def test_an_object_alone_is_read_as_one_among_prose(
    value: dict[str, object], ascii_only: bool
) -> None:
    reply = json.dumps(value, ensure_ascii=ascii_only)

    alone, among_prose = parse_reply(reply), parse_reply(f"See: {reply}")

    assert alone == among_prose or (not value and _reason(reply) == "no_json")


@given(st.fixed_dictionaries(dict.fromkeys(FIELDS, st.text(st.characters() | st.just("\r")))))
@example({"instruction": "a", "input": "\ud83d", "output": "b"})
def test_a_row_alone_is_read_as_one_among_prose(value: dict[str, str]) -> None:
    reply = json.dumps(value)

    assert parse_reply(reply) == parse_reply(f"See: {reply}")


@pytest.mark.parametrize(
    "unit",
    ["{", '{"', '{"a":', '{"a": {', '{"a', "{ ", '{"a":[', '{"a": "b"}\n', '"', '\\"{"', "[{"],
)
def test_a_megabyte_of_hostile_text_is_tried_at_a_bounded_number_of_places(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))

    found = list(find_objects(text))

    assert len(found) <= MAX_STARTS
    assert isinstance(parse_reply(text), Refusal)
