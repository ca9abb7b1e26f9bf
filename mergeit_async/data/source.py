"""What the readers of all formats share: the open stream, and the content of one record."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

SUPPORTED = (
    "a JSON array (.json), JSON lines (.jsonl, .ndjson), CSV (.csv) and TSV (.tsv), each also "
    "as .gz or .zst, and Parquet (.parquet)"
)
BOM = b"\xef\xbb\xbf"
PACKINGS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
BUFFER_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Defect:
    """Why a record cannot be used: a stable reason code and a sentence of detail."""

    reason: str
    detail: str


# The columns of one record, or why there are none; and the same after the line it stands on.
Content = Mapping[str, Any] | Defect
Located = tuple[int, Content]


def open_stream(path: Path) -> io.BufferedReader:
    """The bytes of `path`, unpacked if they are gzip or zstd, whatever the suffix says.

    Reading raises OSError where a packed file is cut off or damaged.
    """
    # By content, since downloads are often unpacked on the way but keep their suffix. Arrow's
    # streams, since zstandard's own ends silently where a file is cut off.
    with open(path, "rb") as file:
        magic = file.read(4)
    kind = next((name for start, name in PACKINGS.items() if magic.startswith(start)), None)
    return io.BufferedReader(pa.input_stream(path, compression=kind), BUFFER_BYTES)


def first_byte(path: Path) -> bytes:
    """The first byte of `path` that is neither BOM nor white space, or b"" if there is none."""
    with open_stream(path) as stream:
        for chunk in iter(partial(stream.read, 4096), b""):
            if text := chunk.removeprefix(BOM).lstrip():
                return text[:1]
    return b""


def name_bad_byte(error: UnicodeDecodeError | UnicodeEncodeError) -> str:
    """A sentence for a byte that is not UTF-8, met while decoding or kept by surrogateescape."""
    found = error.object[error.start]
    byte = found if isinstance(found, int) else ord(found) - 0xDC00
    return f"byte 0x{byte:02x} is not UTF-8"
