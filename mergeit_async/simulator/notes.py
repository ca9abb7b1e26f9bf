"""What a prompt wants said beside the merged row: the members of its schema that are no field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson

from mergeit_async.simulator.calls import ChatCall, format_type, text_of
from mergeit_async.simulator.weaving import Source

_FIELDS = ("instruction", "input", "output")
_MOST_LEVELS = 30


def write_notes(call: ChatCall, sources: Sequence[Source], form: Any) -> dict[str, Any]:
    """What is said about `sources` beside their merge, by key; mostly nothing.

    The schema of the `form` that is answered in says what; without one, the latest example of the
    prompt is followed, as a model would.
    """
    if format_type(form) == "json_schema":
        wanted = form["json_schema"]["schema"].get("properties", {})
    else:
        wanted = _shape_of(_last_example(call))
    wanted = wanted if isinstance(wanted, dict) else {}
    return {
        name: _note(part, sources, _MOST_LEVELS)
        for name, part in wanted.items()
        if name not in _FIELDS
    }


def _note(schema: Any, sources: Sequence[Source], levels: int) -> Any:
    """A list has an item for each source, an object tells its members one field each."""
    kind = schema.get("type") if isinstance(schema, dict) else None
    if kind == "array" and levels:
        items = (_note(schema.get("items"), [source], levels - 1) for source in sources)
        return [item for item in items if item != ""]
    if kind == "object" and levels:
        parts = schema.get("properties")
        names = list(parts) if isinstance(parts, dict) else []
        return {
            name: _note(parts[name], [_only(source, place) for source in sources], levels - 1)
            for place, name in enumerate(names)
        }
    if kind in ("integer", "number"):
        return len(sources)
    if kind == "boolean":
        return True
    return "\n".join(text for source in sources for text in source.values() if text)


def _only(source: Source, place: int) -> Source:
    """The source with just one of its fields."""
    field = _FIELDS[place % len(_FIELDS)]
    return {field: source[field]}


def _last_example(call: ChatCall) -> str:
    for turn in reversed(call.preamble):
        if turn.get("role") == "assistant":
            return text_of(turn)
    return ""


@lru_cache(maxsize=64)
def _shape_of(text: str) -> Mapping[str, Any]:
    """The members of an example's reply as a schema would have them."""
    try:
        said = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return _infer(said)["properties"] if isinstance(said, dict) else {}


def _infer(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return {"type": "object", "properties": {key: _infer(part) for key, part in value.items()}}
    if isinstance(value, list):
        return {"type": "array", "items": _infer(value[0] if value else "")}
    if isinstance(value, bool):
        return {"type": "boolean"}
    return {"type": "number" if isinstance(value, int | float) else "string"}
