"""What a server can do or not beside plain text: forms of reply, and log-probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mergeit_async.simulator.answers import INVALID, Answer, error_answer
from mergeit_async.simulator.calls import ChatCall, format_type
from mergeit_async.simulator.completions import as_json
from mergeit_async.simulator.settings import SimulatorSettings

_FORM = "response_format"
_MOST_LEVELS = 30
_VALUES: Mapping[str, Any] = {"integer": 1, "number": 1, "boolean": True, "null": None}


def refuse_unable(call: ChatCall, settings: SimulatorSettings) -> Answer | None:
    """What a call that asks for more than this server can do is told, or None."""
    if call.top_logprobs is not None and settings.logprobs == "refused":
        return _refuse("'logprobs' is not supported with this model", "logprobs")
    if call.response_format is None or settings.structured == "ignored":
        return None
    if settings.structured == "broken":
        message = "The server had an error while processing your request."
        return error_answer(500, message, type_="server_error")
    if settings.structured == "none":
        return _refuse(f"Unknown parameter: '{_FORM}'", _FORM, code="unknown_parameter")
    return _refuse_form(call, takes_schemas=settings.structured == "json_schema")


def wants_object(form: Any) -> bool:
    """Whether a `response_format` asks for a JSON object."""
    return format_type(form) in ("json_object", "json_schema")


def say_object(form: Any, text: str) -> str | None:
    """A JSON object of the form asked for, with `text` as its strings; None for plain text."""
    match format_type(form):
        case "json_object":
            asked = "Say which simulated answer this is."
            said = {"instruction": asked, "input": "", "output": text}
        case "json_schema":
            said = _fill(form["json_schema"]["schema"], text, _MOST_LEVELS)
        case _:
            return None
    return as_json(said).decode()


def _refuse_form(call: ChatCall, *, takes_schemas: bool) -> Answer | None:
    form = call.response_format
    match format_type(form):
        case "text":
            return None
        case "json_object":
            return None if call.says_json else _refuse_wordless()
        case "json_schema" if not takes_schemas:
            reason = f"Invalid parameter: '{_FORM}' of type 'json_schema' is not supported"
            return _refuse(f"{reason} with this model", _FORM)
        case "json_schema" if _has_schema(form):
            return None
        case "json_schema":
            return _refuse(f"Missing required parameter: '{_FORM}.json_schema.schema'", _FORM)
        case _:
            return _refuse(f"Invalid value: '{_FORM}.type' must be a known type", _FORM)


def _has_schema(form: Mapping[str, Any]) -> bool:
    named = form.get("json_schema")
    return isinstance(named, dict) and isinstance(named.get("schema"), dict)


def _refuse_wordless() -> Answer:
    reason = f"to use '{_FORM}' of type 'json_object'"
    return _refuse(f"'messages' must contain the word 'json' in some form, {reason}", "messages")


def _refuse(reason: str, param: str, code: str | None = None) -> Answer:
    return error_answer(400, f"{reason}.", type_=INVALID, code=code, param=param)


def _fill(schema: Any, text: str, levels: int) -> Any:
    """A value for a JSON Schema of the plain kind, without references."""
    if not isinstance(schema, dict) or not levels:
        return text
    kind = _first(schema, "type")
    if "enum" in schema:
        return _first(schema, "enum")
    if "anyOf" in schema:
        return _fill(_first(schema, "anyOf"), text, levels - 1)
    if kind == "array":
        return [_fill(schema.get("items"), text, levels - 1)]
    if kind == "object":
        return _fill_object(schema, text, levels - 1)
    return _VALUES.get(kind, text) if isinstance(kind, str) else text


def _fill_object(schema: Mapping[str, Any], text: str, levels: int) -> dict[str, Any]:
    parts = schema.get("properties")
    parts = parts if isinstance(parts, dict) else {}
    required = schema.get("required", list(parts))
    names = required if isinstance(required, list) else []
    return {name: _fill(parts.get(name), text, levels) for name in names if isinstance(name, str)}


def _first(schema: Mapping[str, Any], name: str) -> Any:
    """That member of a schema, or the first of it where it is a list."""
    value = schema.get(name)
    return (value[0] if value else None) if isinstance(value, list) else value
