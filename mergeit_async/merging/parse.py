"""From the text of a reply to a merged row: find the JSON object, take its three fields."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import orjson

from mergeit_async.records import Example, Refusal

FIELDS = ("instruction", "input", "output")
# How many places of a reply are tried as the beginning of an object. Each try reads the text at
# most once, so this bounds the work on hostile replies to a constant times their length.
MAX_STARTS = 32

_START = re.compile(r'\{\s*"')
# Numbers are kept as they are written (1.50 stays 1.50); strict=False admits raw line breaks.
_DECODER = json.JSONDecoder(strict=False, parse_int=str, parse_float=str, parse_constant=str)
_KEYS = frozenset(FIELDS)
_NO_INPUT = frozenset({"noinput", "no input"})
# What JSON calls the values that are no text; numbers are read as text.
_KINDS = {dict: "an object", list: "an array", bool: "true or false"}
_EXCERPT_CHARACTERS = 80


def parse_reply(text: str) -> Example | Refusal:
    """The merged row in `text`, or why there is none. Never raises.

    The object may stand alone, in code fences or among prose; of several objects the first with
    all three keys counts. An absent input is an empty one. Refusals: no_json, missing_field,
    wrong_type, bad_text. Their details are sentences that tell a model what to write instead.
    """
    if whole := _read_whole(text):
        return _to_example(whole)
    found: dict[str, Any] | None = None
    for candidate in find_objects(text):
        if all(field in candidate for field in FIELDS):
            return _check_fields(candidate)
        if found is None or (_answers(candidate) and not _answers(found)):
            found = candidate
    if found is None or (found.keys().isdisjoint(FIELDS) and _breaks_off(text)):
        return _refuse_prose(text)
    return _check_fields(found)


def find_objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects in `text` with folded keys; also those inside an object of other keys."""
    position = 0
    for _ in range(MAX_STARTS):
        start = _START.search(text, position)
        if start is None:
            return
        position = start.start() + 1
        try:
            value, end = _DECODER.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            continue
        folded = {key.strip().casefold(): item for key, item in value.items()}
        if any(field in folded for field in FIELDS):
            position = end
        yield folded


def _read_whole(text: str) -> dict[str, str] | None:
    """The fields of a reply as it should be: the object alone, of three texts.

    It may have other keys, such as notes that a prompt asks for, unless they look like one of ours.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(value, dict) or not value.keys() >= _KEYS:
        return None
    if len(value) > len(_KEYS):
        if any(key.strip().casefold() in _KEYS for key in value.keys() - _KEYS):
            return None
        value = {field: value[field] for field in FIELDS}
    for item in value.values():
        if not isinstance(item, str):
            return None
    return value


def _refuse_prose(text: str) -> Refusal:
    if not text.strip():
        return Refusal("no_json", "the reply is empty; it has to be one JSON object")
    excerpt = text[:_EXCERPT_CHARACTERS]
    if _START.search(text):
        return Refusal(
            "no_json",
            "the JSON object of the reply breaks off or is not valid; close it, and escape "
            f"quotation marks and backslashes inside its strings: {excerpt!r}",
        )
    return Refusal("no_json", f"the reply holds no JSON object; it begins with {excerpt!r}")


def _breaks_off(text: str) -> bool:
    """Whether the first object is not whole; then those found are only parts of it."""
    start = _START.search(text)
    try:
        return start is not None and not _DECODER.raw_decode(text, start.start())
    except (ValueError, RecursionError):
        return True


def _answers(value: dict[str, Any]) -> bool:
    return "instruction" in value and "output" in value


def _check_fields(value: dict[str, Any]) -> Example | Refusal:
    for field in FIELDS:
        item = value.get(field)
        if item is None and field != "input":
            state = "is null" if field in value else "is missing"
            return Refusal("missing_field", f'"{field}" {state} in the JSON object of the reply')
        if not isinstance(item, str | None):
            kind = _KINDS.get(type(item), "no text")
            return Refusal("wrong_type", f'"{field}" is {kind}; it has to be one string')
    texts = {field: value.get(field) or "" for field in FIELDS}
    if not _is_unicode("".join(texts.values())):
        return Refusal(
            "bad_text",
            "a string of the reply escapes half of a surrogate pair (\\ud800 to \\udfff); write "
            "the character itself",
        )
    return _to_example(texts)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _to_example(texts: dict[str, str]) -> Example:
    given = _normalise(texts["input"])
    if given and given.strip("<>[](){}\"'`\\., ").casefold() in _NO_INPUT:
        given = ""
    return Example(_normalise(texts["instruction"]), given, _normalise(texts["output"]))


def _normalise(text: str) -> str:
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.strip()
