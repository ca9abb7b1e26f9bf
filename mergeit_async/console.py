"""What commands print on stdout."""

from __future__ import annotations

import sys
from typing import Any

import orjson


def show(result: str | dict[str, Any]) -> None:
    """The result of a command, on stdout; an object as JSON."""
    if isinstance(result, dict):
        result = orjson.dumps(result, option=orjson.OPT_INDENT_2).decode()
    sys.stdout.write(result + "\n")
