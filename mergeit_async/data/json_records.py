"""Records out of JSON lines and JSON arrays, with what Python's own writer puts in them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import orjson

from mergeit_async.data.source import BOM, Content, Defect, Located, name_bad_byte, open_stream
from mergeit_async.errors import UsageError

LONGEST_INTEGER = 20  # characters; no 64-bit integer has more, and Python parses none above 4300


def read_lines(path: Path) -> Iterator[Located]:
    """(line, columns or defect) of each line that is not blank."""
    with open_stream(path) as stream:
        for line, data in enumerate(stream, start=1):
            if text := data.removeprefix(BOM).strip():
                yield line, _parse_line(text)


def read_array(path: Path) -> Iterator[Located]:
    """(record + 1, columns or defect) of each element; the file is held in memory.

    Raises UsageError if it does not parse as a whole.
    """
    with open_stream(path) as stream:
        data = stream.read().removeprefix(BOM)
    try:
        values = _parse_json(data)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(
            f"{path}, line {line}: {name_bad_byte(error)}; save the file as UTF-8"
        ) from error
    except ValueError as error:
        line = getattr(error, "lineno", 1)
        raise UsageError(
            f"{path}, line {line}: the JSON array does not parse ({_name_json_error(error)}); "
            "mend it there, or give one JSON object a line (.jsonl)"
        ) from error
    yield from enumerate(map(_require_object, values), start=1)


def read_lines_or_array(path: Path) -> Iterator[Located]:
    """The records of a file named as JSON lines whose first byte opens an array."""
    # Either the suffix lies, or only the first line holds an array and is to be rejected alone.
    try:
        yield from read_array(path)
    except UsageError:
        yield from read_lines(path)


def _parse_line(text: bytes) -> Content:
    try:
        value = _parse_json(text)
    except UnicodeDecodeError as error:
        return Defect("broken_encoding", name_bad_byte(error))
    except ValueError as error:
        return Defect("broken_json", _name_json_error(error))
    return _require_object(value)


def _require_object(value: Any) -> Content:
    if isinstance(value, dict):
        return value
    return Defect("not_an_object", f"the record is a JSON {type(value).__name__}, not an object")


def _parse_json(data: bytes) -> Any:
    """The value of `data`; raises UnicodeDecodeError or ValueError."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return _parse_python_json(data)
    return _parse_python_json(data) if _has_rounded_integer(value) else value


def _parse_python_json(data: bytes) -> Any:
    # What Python writes and orjson refuses or rounds: NaN, lone surrogates, long integers.
    try:
        return json.loads(data.decode(), parse_constant=lambda _: None, parse_int=_keep_digits)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _keep_digits(digits: str) -> int | str:
    return int(digits) if len(digits) <= LONGEST_INTEGER else digits


def _has_rounded_integer(value: Any) -> bool:
    rows = value if isinstance(value, list) else (value,)
    cells = chain.from_iterable(row.values() for row in rows if isinstance(row, dict))
    return any(isinstance(cell, float) and abs(cell) >= 2**63 for cell in cells)


def _name_json_error(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at column {error.colno}"
    return str(error)
