"""The schema that replies and few-shots must fit: the part of JSON Schema that forms need.

Checked are type (one of six, by name), properties, required, additionalProperties, items and enum.
Other keywords are sent to the server as they stand, and checked by nobody here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from mergeit_async.errors import UsageError

FIELDS = ("instruction", "input", "output")
_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "object": dict,
    "array": list,
    "boolean": bool,
    "number": (int, float),
    "integer": int,
}
_SAID = {dict: "JSON object", list: "list"}


def parse_row_schema(text: str, path: Path) -> dict[str, Any]:
    """The schema of a merge: an object in which the three fields are strings, and maybe more.

    Raises UsageError for broken JSON, for a schema that admits replies which are no row, and for
    a type that is none.
    """
    schema = _parse_object(text, path)
    kinds = schema["properties"]
    for field in FIELDS:
        if not isinstance(kinds.get(field), dict) or kinds[field].get("type") != "string":
            raise UsageError(f'{path}: add the property "{field}" of type "string" to the object.')
    return schema


def parse_choice_schema(text: str, path: Path, name: str, choices: Sequence[str]) -> dict[str, Any]:
    """The schema of a verdict: an object in which `name` is one of `choices`.

    Raises UsageError as `parse_row_schema` does.
    """
    schema = _parse_object(text, path)
    given = schema["properties"].get(name, {}).get("enum", [])
    if sorted(map(str, given)) != sorted(choices):
        listed = ", ".join(f'"{choice}"' for choice in choices)
        raise UsageError(f'{path}: add the property "{name}" with the enum [{listed}].')
    return schema


def find_mismatch(value: Any, schema: Mapping[str, Any]) -> str | None:
    """How `value` fails `schema`, an object's, or None if it fits."""
    return next(_find_mismatches(value, schema, ""), None)


def parse_json(text: str, path: Path, first_line: int = 1) -> Any:
    """The value in `text`, which begins on that line of `path`; raises UsageError with the line."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UsageError(
            f"{path}, line {first_line + error.lineno - 1}: {error.msg}; correct the JSON."
        ) from error


def _parse_object(text: str, path: Path) -> dict[str, Any]:
    schema = parse_json(text, path)
    if not isinstance(schema, dict) or not schema.get("properties"):
        raise UsageError(f'{path}: write the schema of an object, with its "properties".')
    _check_schema(schema, path, "")
    return schema


def _check_schema(schema: Any, path: Path, at: str) -> None:
    """Refuse a schema whose keywords are not what `find_mismatch` takes them for."""
    where = f"{path}: {at or 'the schema'}"
    if not isinstance(schema, dict):
        raise UsageError(f"{where} is {schema!r}; write an object, with a type.")
    if "type" in schema and schema["type"] not in list(_KINDS):
        raise UsageError(f"{where}: type is {schema['type']!r}; choose one of {', '.join(_KINDS)}.")
    for keyword, kind in (("properties", dict), ("required", list), ("enum", list)):
        if not isinstance(schema.get(keyword, kind()), kind):
            raise UsageError(f"{where}: {keyword} is {schema[keyword]!r}; write a {_SAID[kind]}.")
    for name, part in schema.get("properties", {}).items():
        _check_schema(part, path, _path(at, name))
    if "items" in schema:
        _check_schema(schema["items"], path, f"{at}[]")


def _find_mismatches(value: Any, schema: Mapping[str, Any], at: str) -> Iterator[str]:
    kind = schema.get("type", "object" if "properties" in schema else None)
    if not _is_kind(value, kind):
        yield f"has {at!r} of another type than {kind!r}" if at else "is no object"
    elif "enum" in schema and value not in schema["enum"]:
        yield f"has {at!r} that is none of {schema['enum']!r}"
    elif isinstance(value, dict):
        yield from _find_wrong_members(value, schema, at)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _find_mismatches(item, schema.get("items", {}), f"{at}[{number}]")


def _find_wrong_members(
    value: Mapping[str, Any], schema: Mapping[str, Any], at: str
) -> Iterator[str]:
    properties = schema.get("properties", {})
    for key in schema.get("required", ()):
        if key not in value:
            yield f"has no {_path(at, key)!r}"
    for key, item in value.items():
        if key not in properties and schema.get("additionalProperties") is False:
            yield f"has {_path(at, key)!r}, which the schema does not allow"
        yield from _find_mismatches(item, properties.get(key, {}), _path(at, key))


def _path(at: str, key: str) -> str:
    return f"{at}.{key}" if at else key


def _is_kind(item: Any, kind: str | None) -> bool:
    if kind is None:
        return True
    # JSON's true is no number, though Python's is.
    return isinstance(item, _KINDS[kind]) and (kind == "boolean" or not isinstance(item, bool))
