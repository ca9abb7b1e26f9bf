"""Few-shots and schema of a prompt version, checked when it is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from mergeit_async.errors import UsageError
from mergeit_async.records import Example
from mergeit_async.templates.fewshots import parse_fewshots
from mergeit_async.templates.schema import find_mismatch, parse_row_schema

PATH = Path("fewshots.jsonl")
ROW = {"instruction": "Add.", "input": "1 2", "output": "3"}
TEXT = {"type": "string"}
NOTED = {"instruction": TEXT, "input": TEXT, "output": TEXT}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"instruction": TEXT, "input": TEXT, "output": TEXT},
    "required": ["instruction", "input", "output"],
    "additionalProperties": False,
}


def _line(**changes: Any) -> str:
    return orjson.dumps({"sources": [ROW, ROW], "merged": ROW, **changes}).decode()


def test_a_few_shot_is_its_sources_and_the_reply_as_json() -> None:
    (shot,) = parse_fewshots(_line() + "\n\n", SCHEMA, PATH)

    assert shot.sources == (Example(**ROW), Example(**ROW))
    assert orjson.loads(shot.reply) == ROW


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (_line(merged={"instruction": "Add.", "input": ""}), "\"merged\" has no 'output'"),
        (_line(merged={**ROW, "score": "5"}), "\"merged\" has 'score', which the schema"),
        (_line(merged={**ROW, "output": ["3"]}), "\"merged\" has 'output' of another type"),
        (_line(merged="3"), '"merged" is no object'),
        (_line(sources=[ROW]), "at least two rows"),
        (_line(sources=[ROW, {"instruction": "Add."}]), "a row of \"sources\" has no 'input'"),
        (_line(source=1), 'the keys "sources" and "merged"'),
        ("[1]", 'the keys "sources" and "merged"'),
        ('{"sources": [', "correct the JSON"),
    ],
)
def test_a_wrong_few_shot_is_told_with_its_line(line: str, complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_fewshots(f"{_line()}\n{line}\n", SCHEMA, PATH)

    assert "fewshots.jsonl, line 2: " in str(caught.value)
    assert complaint in str(caught.value)


def test_broken_json_of_a_schema_is_told_with_its_line() -> None:
    with pytest.raises(UsageError, match=r"schema\.json, line 3: "):
        parse_row_schema('{\n"type": "object",\n"properties" {}\n}', Path("schema.json"))


@pytest.mark.parametrize(
    ("schema", "complaint"),
    [
        ([], "write the schema of an object"),
        ({"type": "object"}, "write the schema of an object"),
        ({"properties": {"instruction": TEXT, "input": TEXT}}, 'add the property "output"'),
        (
            {"properties": {"instruction": TEXT, "input": TEXT, "output": {"type": "array"}}},
            'add the property "output"',
        ),
        ({"properties": {"instruction": TEXT, "input": TEXT, "output": True}}, "output is True"),
        ({**SCHEMA, "type": ["object", "null"]}, "type is ['object', 'null']; choose one of"),
        ({**SCHEMA, "required": "output"}, "required is 'output'; write a list"),
        ({"properties": {**NOTED, "notes": {"type": "text"}}}, "notes: type is 'text'"),
        ({"properties": {**NOTED, "notes": {"items": {"enum": 1}}}}, "notes[]: enum is 1; write a"),
        ({"properties": {**NOTED, "notes": {"properties": {"a": 1}}}}, "notes.a is 1; write an"),
    ],
)
def test_a_schema_that_admits_what_is_no_row_or_is_none_is_refused(
    schema: Any, complaint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        parse_row_schema(orjson.dumps(schema).decode(), Path("schema.json"))

    assert str(caught.value).startswith("schema.json: ")
    assert complaint in str(caught.value)


NOTES: dict[str, Any] = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"asked": TEXT, "facts": {"type": "array", "items": TEXT}},
        "required": ["asked", "facts"],
        "additionalProperties": False,
    },
}
WITH_NOTES = {
    **SCHEMA,
    "properties": {"notes": NOTES, **NOTED},
    "required": ["notes", *ROW],
}


@pytest.mark.parametrize(
    ("notes", "mismatch"),
    [
        ([{"asked": "Add.", "facts": ["3"]}], None),
        ([], None),
        ("Add.", "has 'notes' of another type than 'array'"),
        ([{"asked": "Add.", "facts": ["3"]}, "x"], "has 'notes[1]' of another type than 'object'"),
        ([{"asked": "Add."}], "has no 'notes[0].facts'"),
        ([{"asked": "Add.", "facts": [3]}], "has 'notes[0].facts[0]' of another type"),
        ([{"asked": "Add.", "facts": [], "b": 1}], "has 'notes[0].b', which the schema"),
    ],
)
def test_lists_of_objects_are_looked_into(notes: Any, mismatch: str | None) -> None:
    found = find_mismatch({"notes": notes, **ROW}, WITH_NOTES)

    assert found == mismatch if mismatch is None else mismatch in str(found)


def test_a_value_outside_its_enum_is_a_mismatch() -> None:
    schema = {"properties": {"mood": {"type": "string", "enum": ["glad", "sad"]}}}

    assert find_mismatch({"mood": "sad"}, schema) is None
    assert "'mood' that is none of" in str(find_mismatch({"mood": "odd"}, schema))


def test_a_reply_has_its_keys_in_the_order_of_the_schema() -> None:
    (shot,) = parse_fewshots(_line(merged={**ROW, "notes": []}), WITH_NOTES, PATH)

    assert list(orjson.loads(shot.reply)) == ["notes", "instruction", "input", "output"]


def test_a_boolean_is_no_number() -> None:
    schema = {"properties": {"score": {"type": "number"}}}

    assert find_mismatch({"score": 1.5}, schema) is None
    assert find_mismatch({"score": True}, schema) is not None
