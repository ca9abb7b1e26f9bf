"""Columns of a record become the three text fields of an example; everything else is extra."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import orjson

from mergeit_async.data.source import Defect
from mergeit_async.errors import UsageError
from mergeit_async.records import Example

# Changes with whatever changes the rows that a file gives.
DATA_VERSION = "data/1"

TARGETS = ("instruction", "input", "output")
DEEPEST_EXTRA = 100  # levels; orjson writes no more than 254

# Whole inputs by which Alpaca-like datasets say that there is none: "<noinput>", "No input
# required.", "N/A", "none", "nan". Anything with a word more, or "NA" or "null" alone, is content.
_WRAPPING = r"""[\s<>()\[\]{}\\`'".,:_*-]*"""
_NO_INPUT = re.compile(
    rf"{_WRAPPING}(?:"
    r"no[\s_-]*inputs?(?:\s+(?:is\s+)?(?:required|needed|necessary|provided|given))?"
    r"|none|n/a|not\s+applicable|(?-i:nan|NaN)"
    rf"){_WRAPPING}",
    re.IGNORECASE,
)
_LEADING = re.compile(r"\A[\s\ufeff]+")


def parse_columns(spec: str) -> dict[str, str]:
    """`instruction=prompt,output=response` as {ours: theirs}; "" gives {}.

    Raises UsageError naming the part that is malformed, unknown or repeated.
    """
    columns: dict[str, str] = {}
    for part in filter(None, spec.split(",")):
        ours, equals, theirs = (piece.strip() for piece in part.partition("="))
        if not (ours and equals and theirs):
            raise UsageError(f"--columns: '{part}' is not of the form instruction=their_column")
        if ours not in TARGETS:
            raise UsageError(f"--columns: '{ours}' in '{part}' must be one of {_quote(TARGETS)}")
        if ours in columns or theirs in columns.values():
            raise UsageError(f"--columns: '{part}' repeats a name; name each column once")
        columns[ours] = theirs
    return columns


def resolve_columns(
    columns: Mapping[str, str] | None, found: Iterable[str], where: str
) -> dict[str, str]:
    """{ours: theirs} for a dataset with the columns `found`; input may be left out.

    A default name is not used for a column that `columns` gives to another field. Raises
    UsageError, beginning with `where`, if a needed or an explicitly named column is not there.
    """
    named, present = dict(columns or {}), set(found)
    free = present - set(named.values())
    resolved = {ours: named.get(ours, ours) for ours in TARGETS if ours in named or ours in free}
    for ours in TARGETS:
        needed = ours in named or ours != "input"
        if needed and resolved.get(ours) not in present:
            raise UsageError(
                f"{where}: there is no column '{named.get(ours, ours)}' for {ours}; "
                f"found {_quote(sorted(present))}; say which to take, "
                "as in --columns instruction=prompt,output=response"
            )
    return resolved


def normalise(
    record: Mapping[str, Any], columns: Mapping[str, str]
) -> tuple[Example, dict[str, Any]] | Defect:
    """The example and the extra columns (JSON values) of `record`, or why it is unusable.

    `columns` is {ours: theirs} as `resolve_columns` gives it; a missing value is empty text.
    Reasons: not_text, empty_instruction, empty_output.
    """
    texts = dict.fromkeys(TARGETS, "")
    for ours, theirs in columns.items():
        text = _write_scalar(record.get(theirs))
        if text is None:
            kind = type(record[theirs]).__name__
            return Defect("not_text", f"column '{theirs}' holds a {kind}, not text")
        texts[ours] = normalise_text(text)
    for ours in ("instruction", "output"):
        if not texts[ours]:
            return Defect(f"empty_{ours}", f"column '{columns[ours]}' is empty")
    example = Example(texts["instruction"], clear_input(texts["input"]), texts["output"])
    taken = set(columns.values())
    extra = {_replace_surrogates(key): _to_json(record[key]) for key in record if key not in taken}
    return example, extra


def normalise_text(text: str) -> str:
    """`text` with LF line ends, no NUL, no leading BOM, no outer white space, valid in UTF-8.

    All other Unicode stays as it is: code and other scripts must not change.
    """
    text = text.replace("\0", "").replace("\r\n", "\n").replace("\r", "\n")
    return _LEADING.sub("", _replace_surrogates(text)).rstrip()


def clear_input(text: str) -> str:
    """`text`, or "" if the whole of it only says that there is no input."""
    return "" if _NO_INPUT.fullmatch(text) else text


def _write_scalar(value: Any) -> str | None:
    """The text of one cell: "" for null and NaN, JSON text for numbers, None if it is no text."""
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float | Decimal) and not math.isfinite(value)):
        return ""
    if isinstance(value, bool | float):
        return orjson.dumps(value).decode()
    if isinstance(value, int | Decimal):
        return str(value)
    if isinstance(value, bytes):
        return _decode(value)
    return None


def _decode(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _replace_surrogates(text: str) -> str:
    """`text` with paired surrogates joined and lone ones as U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _to_json(value: Any, depth: int = 0) -> Any:
    """`value` as what orjson writes and reads back equal; bytes as base64, dates in ISO 8601."""
    if isinstance(value, str):
        return _replace_surrogates(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth == DEEPEST_EXTRA:
        return f"(nested deeper than {DEEPEST_EXTRA} levels)"
    if isinstance(value, Mapping):
        return {_replace_surrogates(str(k)): _to_json(v, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(item, depth + 1) for item in value]
    return _write_rare(value)


def _write_rare(value: Any) -> str:
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value)


def _quote(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"
