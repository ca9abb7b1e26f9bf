"""Few-shots and schema of a prompt version, checked when it is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from mergeit_async.errors import UsageError
from mergeit_async.records import Example
from mergeit_async.templates.fewshots import find_mismatch, parse_fewshots, parse_schema

PATH = Path("fewshots.jsonl")
ROW = {"instruction": "Add.", "input": "1 2", "output": "3"}
TEXT = {"type": "string"}
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
        parse_schema('{\n"type": "object",\n"properties" {}\n}', Path("schema.json"))


@pytest.mark.parametrize(
    "schema",
    [
        [],
        {"type": "object"},
        {"properties": {"instruction": TEXT, "input": TEXT}},
        {"properties": {"instruction": TEXT, "input": TEXT, "output": {"type": "array"}}},
        {"properties": {"instruction": TEXT, "input": TEXT, "output": True}},
    ],
)
def test_a_schema_whose_replies_are_no_rows_is_refused(schema: Any) -> None:
    with pytest.raises(UsageError, match=r'add the property "output"|"instruction"'):
        parse_schema(orjson.dumps(schema).decode(), Path("schema.json"))


def test_a_boolean_is_no_number() -> None:
    schema = {"properties": {"score": {"type": "number"}}}

    assert find_mismatch({"score": 1.5}, schema) is None
    assert find_mismatch({"score": True}, schema) is not None
