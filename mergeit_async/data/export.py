"""The result in the file formats that trainers read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

import orjson

from mergeit_async.data.atomic import write_atomically
from mergeit_async.errors import UsageError

ALPACA_FIELDS = ("instruction", "input", "output")


def write_jsonl(path: Path, objects: Iterable[Mapping[str, Any]]) -> int:
    """Write one JSON object a line to `path`, whole or not at all; returns how many."""
    count = 0
    with write_atomically(path) as file:
        for item in objects:
            file.write(orjson.dumps(dict(item), option=orjson.OPT_APPEND_NEWLINE))
            count += 1
    return count


def export_alpaca(merged_jsonl: Path, to: Path) -> int:
    """Write `merged_jsonl` to `to` as one JSON array of instruction, input, output.

    Streams: one row is in memory at a time. Returns the number of rows. Raises UsageError if
    `to` exists or cannot be written, or if `merged_jsonl` is missing or damaged.
    """
    _refuse_overwriting(to)
    try:
        with write_atomically(to) as file:
            return _write_array(file, _read_merged(merged_jsonl))
    except OSError as error:
        raise UsageError(
            f"{to} cannot be written ({error.strerror}); choose another with --to"
        ) from None


FORMATS: Mapping[str, Callable[[Path, Path], int]] = MappingProxyType({"alpaca": export_alpaca})
"""Format name → export of (merged.jsonl, target), which returns the number of rows."""


def _refuse_overwriting(to: Path) -> None:
    if to.exists():
        raise UsageError(f"{to} exists already; remove it or choose another name with --to")
    if not to.parent.is_dir():
        raise UsageError(f"{to.parent} is not a directory; create it or choose another with --to")


def _write_array(file: BinaryIO, rows: Iterable[Mapping[str, Any]]) -> int:
    count = 0
    file.write(b"[")
    for count, row in enumerate(rows, start=1):
        file.write(b"\n" if count == 1 else b",\n")
        file.write(orjson.dumps(row))
    file.write(b"\n]\n")
    return count


def _read_merged(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with open(path, "rb") as lines:
            for number, line in enumerate(lines, start=1):
                yield _parse_merged(path, number, line)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read ({error.strerror}); finish the run with resume first"
        ) from error


def _parse_merged(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        row = orjson.loads(line)
        return {field: row[field] for field in ALPACA_FIELDS}
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path}, line {number} is not a merged row ({error!r}); write it anew with resume"
        ) from error
