"""The solved examples of a prompt version: rows, and the reply that they should get."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from mergeit_async.errors import UsageError
from mergeit_async.records import Example
from mergeit_async.templates.schema import FIELDS, find_mismatch, parse_json


@dataclass(frozen=True, slots=True)
class FewShot:
    """Rows and the reply that a model should give for them: JSON that fits the schema."""

    sources: tuple[Example, ...]
    reply: str


def parse_fewshots(text: str, schema: Mapping[str, Any], path: Path) -> tuple[FewShot, ...]:
    """One few-shot for each line of `text`; blank lines are skipped.

    Raises UsageError with the line number for broken JSON and for rows that do not fit.
    """
    lines = enumerate(text.split("\n"), start=1)
    return tuple(_parse_fewshot(line, schema, path, at) for at, line in lines if line.strip())


def _parse_fewshot(line: str, schema: Mapping[str, Any], path: Path, at: int) -> FewShot:
    value = parse_json(line, path, at)
    if not isinstance(value, dict) or set(value) != {"sources", "merged"}:
        raise UsageError(
            f'{path}, line {at}: write an object with the keys "sources" and "merged".'
        )
    if mismatch := find_mismatch(value["merged"], schema):
        raise UsageError(
            f'{path}, line {at}: "merged" {mismatch}; correct it or the schema of the version.'
        )
    return FewShot(
        _parse_sources(value["sources"], path, at), _write_reply(value["merged"], schema)
    )


def _write_reply(merged: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """The reply with its keys as the schema has them: servers that follow a schema write so."""
    ordered = {key: merged[key] for key in schema["properties"] if key in merged}
    return orjson.dumps(ordered | {**merged}).decode()


def _parse_sources(value: Any, path: Path, at: int) -> tuple[Example, ...]:
    if not isinstance(value, list) or len(value) < 2:
        raise UsageError(f'{path}, line {at}: "sources" must be a list of at least two rows.')
    for row in value:
        if mismatch := find_mismatch(row, _ROW_SCHEMA):
            raise UsageError(f'{path}, line {at}: a row of "sources" {mismatch}; correct it.')
    return tuple(Example(**row) for row in value)


_ROW_SCHEMA: Mapping[str, Any] = {
    "properties": {field: {"type": "string"} for field in FIELDS},
    "required": FIELDS,
    "additionalProperties": False,
}
