"""What the benches share: the options that all of them have, and where a result goes."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import orjson


def parser_of(description: str | None, *, needs_data: bool = True) -> argparse.ArgumentParser:
    """A parser with `--json`, and with `--data` where real rows are needed."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if needs_data:
        parser.add_argument("--data", type=Path, required=True, help="folder of the Alpaca sample")
    parser.add_argument("--json", type=Path, help="write the result here")
    return parser


def publish(result: dict[str, Any], path: Path | None) -> None:
    """Print a result as JSON, and write it to `path` too."""
    os.write(1, dump(result))
    if path:
        path.write_bytes(dump(result))


def dump(result: dict[str, Any]) -> bytes:
    return orjson.dumps(result, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
