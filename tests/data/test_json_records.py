from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mergeit_async.data.json_records import read_array, read_lines
from mergeit_async.data.source import Defect
from mergeit_async.errors import UsageError

GOOD = b'{"instruction": "Name a colour."}'
READ = {"instruction": "Name a colour."}


def read_line(tmp_path: Path, data: bytes) -> Any:
    path = tmp_path / "a.jsonl"
    path.write_bytes(data)
    ((_, content),) = read_lines(path)
    return content


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'{"instruction": "cut o', "broken_json"),
        (b'{"instruction": "a"} {"instruction": "b"}', "broken_json"),
        (b"{'single': 'quotes'}", "broken_json"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "broken_json"),
        (b"[1, 2]", "not_an_object"),
        (b'"text"', "not_an_object"),
        (b"null", "not_an_object"),
        (b"7", "not_an_object"),
        ('{"instruction": "café"}'.encode("latin-1"), "broken_encoding"),
        (b'{"instruction": "\xed\xa0\x80"}', "broken_encoding"),
    ],
)
def test_one_broken_line_is_a_defect_and_the_rest_goes_on(
    tmp_path: Path, bad: bytes, reason: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(GOOD + b"\n" + bad + b"\n" + GOOD)

    first, (line, defect), last = read_lines(path)

    assert (first, last) == ((1, READ), (3, READ))
    assert line == 2
    assert isinstance(defect, Defect)
    assert defect.reason == reason
    assert defect.detail


def test_a_bad_byte_is_named(tmp_path: Path) -> None:
    defect = read_line(tmp_path, '{"a": "é"}'.encode("latin-1"))

    assert defect.detail == "byte 0xe9 is not UTF-8"


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_bom_line_ends_and_blank_lines_do_not_matter(tmp_path: Path, end: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD + b"\r\n\r\n \t\n" + GOOD + end)

    assert list(read_lines(path)) == [(1, READ), (4, READ)]


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_constants_that_only_python_writes_are_null(tmp_path: Path, constant: str) -> None:
    content = read_line(tmp_path, f'{{"input": {constant}, "output": "NaN"}}'.encode())

    assert content == {"input": None, "output": "NaN"}


@pytest.mark.parametrize("digits", ["9" * 20, "9" * 30, "-" + "9" * 30, "9" * 5000])
def test_no_digit_of_a_long_integer_is_lost(tmp_path: Path, digits: str) -> None:
    content = read_line(tmp_path, f'{{"output": {digits}}}'.encode())

    assert str(content["output"]) == digits


def test_a_lone_surrogate_escape_does_not_break_the_line(tmp_path: Path) -> None:
    content = read_line(tmp_path, b'{"output": "\\ud83d\\ude00 and \\ud800"}')

    assert content == {"output": "\U0001f600 and \ud800"}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("[]", []),
        ('[{"n": NaN}]', [{"n": None}]),
        ('[{"n": 123456789012345678901234567890}]', [{"n": "123456789012345678901234567890"}]),
    ],
)
def test_an_array_is_read_with_what_python_writes(
    tmp_path: Path, text: str, values: list[object]
) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)

    assert [content for _, content in read_array(path)] == values


def test_an_element_that_is_no_object_is_a_defect_and_the_rest_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([READ, None, READ]))

    (_, first), (line, defect), (_, last) = read_array(path)

    assert first == last == READ
    assert line == 2
    assert isinstance(defect, Defect)
    assert defect.reason == "not_an_object"


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b'[\n{"a": 1},\n{"a": 2\n', 4),
        (b'[\n{"a": 1}\n{"a": 2}]', 3),
        (b'[\n{"a": 1},\n{"a": "\xe9"}]', 3),
    ],
)
def test_a_broken_array_is_refused_naming_the_line(tmp_path: Path, data: bytes, line: int) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(data)

    with pytest.raises(UsageError, match=rf"a\.json, line {line}: "):
        list(read_array(path))
