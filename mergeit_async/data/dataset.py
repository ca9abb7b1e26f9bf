"""A dataset file as a stream of rows with ids, and of rejects."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from mergeit_async.data.normalise import normalise, resolve_columns
from mergeit_async.data.read import read_records
from mergeit_async.data.source import Defect
from mergeit_async.errors import UsageError
from mergeit_async.ids import DIGEST_BYTES, row_id
from mergeit_async.records import Example, Rejected, Row


def read_rows(
    path: Path, columns: Mapping[str, str] | None = None, limit: int | None = None
) -> Iterator[Row | Rejected]:
    """Each of the first `limit` records of `path`, in order, as a row or as a reject.

    `columns` is {ours: theirs} where names differ from instruction, input, output. A file in
    valid form without a record gives nothing. Memory: about 100 bytes a row, for finding repeats.
    Raises UsageError at once for a path that cannot be read, and on the way for a file that
    cannot be used (see `read_records`, `resolve_columns`).
    """
    _check_file(path)
    return _number_rows(path, columns, limit)


def dataset_digest(path: Path) -> str:
    """The 128-bit BLAKE2b of the bytes of `path`, as 32 hex digits; raises UsageError as above."""
    _check_file(path)
    with open(path, "rb") as file:
        return hashlib.file_digest(
            file, partial(hashlib.blake2b, digest_size=DIGEST_BYTES)
        ).hexdigest()


def _check_file(path: Path) -> None:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(
            f"{path} does not exist; check the spelling of the dataset's path"
        ) from error
    except OSError as error:
        raise UsageError(
            f"{path} cannot be reached ({error.strerror}); check the rights of its directories"
        ) from error
    if stat.S_ISDIR(status.st_mode):
        raise UsageError(f"{path} is a directory; give the dataset file in it")
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(f"{path} is not a regular file; save the dataset to disk first")
    if not os.access(path, os.R_OK):
        raise UsageError(f"{path} may not be read; give yourself the right with chmod u+r")
    if status.st_size == 0:
        raise UsageError(f"{path} is empty; give a dataset with at least one record")


def _number_rows(
    path: Path, columns: Mapping[str, str] | None, limit: int | None
) -> Iterator[Row | Rejected]:
    resolved: dict[str, str] | None = None
    seen: dict[bytes, int] = {}
    for record, line, content in read_records(path, limit):
        if isinstance(content, Rejected):
            yield content
            continue
        resolved = resolved or resolve_columns(columns, content, f"{path}, line {line}")
        normalised = normalise(content, resolved)
        if isinstance(normalised, Defect):
            yield Rejected(str(path), record, line, normalised.reason, normalised.detail)
        else:
            yield _make_row(*normalised, record, line, seen)


def _make_row(
    example: Example, extra: Mapping[str, Any], record: int, line: int, seen: dict[bytes, int]
) -> Row:
    first = row_id(example, 0)
    content = bytes.fromhex(first)  # a third of the hex digits' memory
    occurrence = seen.get(content, 0)
    seen[content] = occurrence + 1
    return Row(
        id=row_id(example, occurrence) if occurrence else first,
        instruction=example.instruction,
        input=example.input,
        output=example.output,
        record=record,
        line=line,
        duplicate_of=first if occurrence else None,
        extra=extra,
    )
