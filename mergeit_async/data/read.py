"""Records out of a dataset file: JSON array, JSON lines, CSV, TSV, Parquet; plain, gzip or zstd.

All but a JSON array are streamed: memory depends on the longest record, not on the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from mergeit_async.data.json_records import read_array, read_lines, read_lines_or_array
from mergeit_async.data.source import SUPPORTED, Defect, Located, first_byte
from mergeit_async.data.tables import read_csv, read_parquet
from mergeit_async.errors import UsageError
from mergeit_async.records import Rejected

JSON_SUFFIXES = frozenset({".json", ".jsonl", ".ndjson"})
DELIMITERS = {".csv": ",", ".tsv": "\t"}

Record = tuple[int, int, Mapping[str, Any] | Rejected]


def read_records(path: Path, limit: int | None = None) -> Iterator[Record]:
    """(record, line, columns) of the first `limit` records of `path`, or of all.

    `record` counts all records from 0, unusable ones included. `line` counts from 1: the line of
    the text file where the record starts, record + 1 in a JSON array or Parquet file. A record
    that cannot be read is a `Rejected` in place of its columns, and the rest goes on; reasons:
    broken_json, not_an_object, broken_encoding, wrong_cell_count, broken_csv.

    Raises UsageError if the file is empty, cut off, of no known format, a JSON array that does
    not parse, or if not one of the records asked for can be read.
    """
    usable, first_reject = False, None
    for record, (line, content) in enumerate(islice(_read_contents(path), limit)):
        if isinstance(content, Defect):
            reject = Rejected(str(path), record, line, content.reason, content.detail)
            first_reject = first_reject or reject
            yield record, line, reject
        else:
            usable = True
            yield record, line, content
    if first_reject and not usable:
        raise UsageError(
            f"{path} holds no usable record: line {first_reject.line}: {first_reject.detail} "
            f"({first_reject.reason}); give a dataset as {SUPPORTED}"
        )


def _read_contents(path: Path) -> Iterator[Located]:
    try:
        yield from _choose_reader(path)(path)
    except (OSError, pa.ArrowException) as error:
        raise UsageError(
            f"{path} cannot be read to its end ({error}); "
            "it may be cut off or damaged, so fetch or write it again"
        ) from error


def _choose_reader(path: Path) -> Callable[[Path], Iterator[Located]]:
    first = first_byte(path)
    suffix = next((s for s in reversed(path.suffixes) if s.lower() not in (".gz", ".zst")), "")
    suffix = suffix.lower()
    if not first:
        raise UsageError(f"{path} is empty; give a dataset with at least one record")
    if suffix == ".parquet":
        return read_parquet
    if suffix in DELIMITERS:
        return partial(read_csv, delimiter=DELIMITERS[suffix])
    if first == b"[":
        return read_lines_or_array if suffix in (".jsonl", ".ndjson") else read_array
    if first == b"{" or suffix in JSON_SUFFIXES:
        return read_lines
    raise UsageError(f"{path} has no known format; rename it or convert it to {SUPPORTED}")
