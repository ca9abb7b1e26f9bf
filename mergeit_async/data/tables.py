"""Records out of files with named columns: CSV, TSV and Parquet."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mergeit_async.data.source import (
    SUPPORTED,
    Content,
    Defect,
    Located,
    name_bad_byte,
    open_stream,
)
from mergeit_async.errors import UsageError

PARQUET_BATCH_ROWS = 256


def read_csv(path: Path, delimiter: str) -> Iterator[Located]:
    """(line where the record starts, columns or defect) of each record below the header.

    Blank lines are no records. Raises UsageError for a header that cannot be used and for a
    quote that is never closed, since it would swallow the rest of the file.
    """
    with open_stream(path) as stream:
        records = _split_csv(path, stream, delimiter)
        line, header = next(records, (1, []))
        if isinstance(header, Defect):
            raise UsageError(f"{path}, line {line}: {header.detail}; mend the header")
        names = [name.strip() or f"column_{place}" for place, name in enumerate(header, start=1)]
        _require_distinct(path, names)
        for line, cells in records:
            yield line, cells if isinstance(cells, Defect) else _name_cells(names, cells)


def read_parquet(path: Path) -> Iterator[Located]:
    """(record + 1, columns or defect) of each record; values are Python's, as Arrow gives them.

    Raises UsageError if `path` is no Parquet file or repeats a column name.
    """
    try:
        file = pq.ParquetFile(path, memory_map=True, pre_buffer=False)
    except (OSError, pa.ArrowException) as error:
        raise UsageError(
            f"{path} is not a readable Parquet file ({error}); give a dataset as {SUPPORTED}"
        ) from error
    with file:
        names = file.schema_arrow.names
        _require_distinct(path, names)
        batches = file.iter_batches(batch_size=PARQUET_BATCH_ROWS)
        rows = chain.from_iterable(zip(*map(_list_values, b.columns), strict=True) for b in batches)
        for line, cells in enumerate(rows, start=1):
            yield line, _require_utf8(dict(zip(names, cells, strict=True)))


def _split_csv(
    path: Path, lines: Iterable[bytes], delimiter: str
) -> Iterator[tuple[int, list[str] | Defect]]:
    csv.field_size_limit(sys.maxsize)
    # Undecodable bytes travel as lone surrogates to `_require_utf8`, which rejects their record.
    texts = (line.decode("utf-8", "surrogateescape") for line in lines)
    texts = (text.removeprefix("\ufeff") if n == 0 else text for n, text in enumerate(texts))
    reader = csv.reader(texts, delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end of data" in str(error):
                raise UsageError(
                    f"{path}, line {line}: a quoted cell is never closed; close its quote"
                ) from error
            yield line, Defect("broken_csv", str(error))
        else:
            if cells:
                yield line, cells


def _name_cells(names: Sequence[str], cells: Sequence[str]) -> Content:
    if len(cells) != len(names):
        detail = f"{len(cells)} cells where the header has {len(names)}"
        return Defect("wrong_cell_count", detail)
    return _require_utf8(dict(zip(names, cells, strict=True)))


def _require_utf8(record: dict[str, Any]) -> Content:
    try:
        "".join(value for value in record.values() if isinstance(value, str)).encode()
    except UnicodeEncodeError as error:
        return Defect("broken_encoding", name_bad_byte(error))
    return record


def _require_distinct(path: Path, names: Sequence[str]) -> None:
    for place, name in enumerate(names):
        if name in names[:place]:
            raise UsageError(f"{path} has two columns named '{name}'; rename one of them")


def _list_values(column: pa.Array) -> list[Any]:
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        cells = column.cast(pa.large_binary()).to_pylist()
        return [cell if cell is None else cell.decode("utf-8", "surrogateescape") for cell in cells]
    except (ValueError, OverflowError):  # nanoseconds, or years beyond Python's dates
        return list(column.cast(pa.large_string()).to_pylist())
