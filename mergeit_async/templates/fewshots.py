"""The solved examples of a prompt version, and the schema that its replies and they must fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from mergeit_async.errors import UsageError
from mergeit_async.records import Example

FIELDS = ("instruction", "input", "output")
_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "object": dict,
    "array": list,
    "boolean": bool,
    "number": (int, float),
    "integer": int,
}


@dataclass(frozen=True, slots=True)
class FewShot:
    """Rows and the reply that a model should give for them: JSON that fits the schema."""

    sources: tuple[Example, ...]
    reply: str


def parse_schema(text: str, path: Path) -> dict[str, Any]:
    """The schema of the reply: an object in which the three fields are strings.

    Raises UsageError for broken JSON, or for a schema that admits replies which are no row.
    """
    schema = _parse_json(text, path, 1)
    properties = schema.get("properties") if isinstance(schema, dict) else None
    kinds = properties if isinstance(properties, dict) else {}
    for field in FIELDS:
        if not isinstance(kinds.get(field), dict) or kinds[field].get("type") != "string":
            raise UsageError(f'{path}: add the property "{field}" of type "string" to the object.')
    return dict(schema)


def parse_fewshots(text: str, schema: Mapping[str, Any], path: Path) -> tuple[FewShot, ...]:
    """One few-shot for each line of `text`; blank lines are skipped.

    Raises UsageError with the line number for broken JSON and for rows that do not fit.
    """
    lines = enumerate(text.split("\n"), start=1)
    return tuple(_parse_fewshot(line, schema, path, at) for at, line in lines if line.strip())


def find_mismatch(value: Any, schema: Mapping[str, Any]) -> str | None:
    """How `value` fails `schema`, or None if it fits.

    Covers what a flat object needs: properties with a type, required, additionalProperties.
    """
    if not isinstance(value, dict):
        return "is no object"
    properties: dict[str, Any] = schema["properties"]
    for key in schema.get("required", ()):
        if key not in value:
            return f"has no {key!r}"
    for key, item in value.items():
        if key not in properties and schema.get("additionalProperties") is False:
            return f"has {key!r}, which the schema does not allow"
        if not _is_kind(item, properties.get(key, {}).get("type")):
            return f"has {key!r} of another type than {properties[key]['type']!r}"
    return None


def _parse_fewshot(line: str, schema: Mapping[str, Any], path: Path, at: int) -> FewShot:
    value = _parse_json(line, path, at)
    if not isinstance(value, dict) or set(value) != {"sources", "merged"}:
        raise UsageError(
            f'{path}, line {at}: write an object with the keys "sources" and "merged".'
        )
    if mismatch := find_mismatch(value["merged"], schema):
        raise UsageError(
            f'{path}, line {at}: "merged" {mismatch}; correct it or the schema of the version.'
        )
    return FewShot(
        _parse_sources(value["sources"], path, at), orjson.dumps(value["merged"]).decode()
    )


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


def _parse_json(text: str, path: Path, first_line: int) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UsageError(
            f"{path}, line {first_line + error.lineno - 1}: {error.msg}; correct the JSON."
        ) from error


def _is_kind(item: Any, kind: str | None) -> bool:
    if kind is None:
        return True
    # JSON's true is no number, though Python's is.
    return isinstance(item, _KINDS[kind]) and (kind == "boolean" or not isinstance(item, bool))
