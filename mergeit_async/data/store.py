"""Rows on disk, read by position: any number of rows at the memory of none.

An Arrow IPC file of record batches, memory-mapped; the extra columns are a JSON text.
"""

from __future__ import annotations

import operator
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from mergeit_async.data.atomic import write_atomically
from mergeit_async.errors import UsageError
from mergeit_async.records import Row

SCHEMA = pa.schema(
    [
        ("id", pa.large_string()),
        ("instruction", pa.large_string()),
        ("input", pa.large_string()),
        ("output", pa.large_string()),
        ("record", pa.int64()),
        ("line", pa.int64()),
        ("duplicate_of", pa.large_string()),
        ("extra", pa.large_string()),
    ]
)
# The bytes of a column's texts, after the offsets between which each of them lies.
Texts = tuple[memoryview, memoryview]
BATCH_ROWS = 16_384
BATCH_CHARACTERS = 1 << 25


def write_rows(path: Path, rows: Iterable[Row]) -> int:
    """Write `rows` to `path`, whole or not at all, and return how many there were.

    Memory is bounded by one batch, whatever the number and length of the rows.
    """
    count = 0
    with write_atomically(path) as file, pa.ipc.new_file(file, SCHEMA) as writer:
        for batch in _batch_rows(rows):
            writer.write_batch(_to_columns(batch))
            count += len(batch)
    return count


class RowStore:
    """The rows that `write_rows` wrote, in their order, mapped into memory and never copied.

    Several threads may read at once. A store is a context manager; rows taken from it stay
    valid after it is closed.
    """

    def __init__(self, source: pa.MemoryMappedFile) -> None:
        file = pa.ipc.open_file(source)
        if not file.schema.equals(SCHEMA):
            raise pa.ArrowInvalid("it has other columns")
        batches = [file.get_batch(place) for place in range(file.num_record_batches)]
        self._source = source
        self._batches = [Batch(batch) for batch in batches]
        self._starts: list[int] = [0, *accumulate(batch.num_rows for batch in batches)]

    @classmethod
    def open(cls, path: Path) -> RowStore:
        """Raises UsageError if `path` is not there or was not written by `write_rows`."""
        try:
            return cls(pa.memory_map(str(path)))
        except (OSError, pa.ArrowException) as error:
            raise UsageError(
                f"{path} cannot be read as stored rows ({error}); start the run anew"
            ) from error

    def close(self) -> None:
        self._batches, self._starts = [], [0]
        self._source.close()

    def __enter__(self) -> RowStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, index: SupportsIndex) -> Row:
        batch, place = self._locate(index)
        return batch.row(place)

    def ids(self, indices: Iterable[SupportsIndex]) -> list[str]:
        """The ids of the rows at `indices`, in that order."""
        return [batch.id(place) for batch, place in map(self._locate, indices)]

    def iter_texts(self, indices: Iterable[SupportsIndex]) -> Iterator[str]:
        """`Row.text` of the rows at `indices`, in that order."""
        return (batch.text(place) for batch, place in map(self._locate, indices))

    def records(self) -> npt.NDArray[np.int64]:
        """(n_rows,) int64: the place of each row's record in the dataset file."""
        parts = [np.asarray(batch.record) for batch in self._batches]
        return np.concatenate([np.empty(0, np.int64), *parts])

    def duplicates(self) -> npt.NDArray[np.bool_]:
        """(n_rows,) bool: whether a row repeats an earlier one."""
        parts = [batch.are_duplicates.to_numpy(zero_copy_only=False) for batch in self._batches]
        return np.concatenate([np.empty(0, np.bool_), *parts])

    def _locate(self, index: SupportsIndex) -> tuple[Batch, int]:
        place = operator.index(index)
        if not 0 <= place < self._starts[-1]:
            raise IndexError(f"row {place} of {len(self)}")
        batch = bisect_right(self._starts, place) - 1
        return self._batches[batch], place - self._starts[batch]


class Batch:
    """The columns of one record batch, as views of Arrow's buffers.

    A cell cut from them costs half of what Arrow's own scalar does. Columns of a file begin where
    their buffers do, which those of a slice need not.
    """

    def __init__(self, batch: pa.RecordBatch) -> None:
        columns = dict(zip(SCHEMA.names, batch.columns, strict=True))
        self._texts = [_view(columns[name]) for name in ("id", "instruction", "input", "output")]
        self.record = memoryview(columns["record"].buffers()[1]).cast("q")
        self._line = memoryview(columns["line"].buffers()[1]).cast("q")
        self._duplicate_of = _view(columns["duplicate_of"])
        self.are_duplicates: pa.BooleanArray = columns["duplicate_of"].is_valid()
        self._duplicate_bits = memoryview(self.are_duplicates.buffers()[1])
        self._extra = _view(columns["extra"])
        # No JSON object is shorter than an empty one, so that the sum of their lengths tells.
        self._has_extra = self._extra[0][batch.num_rows] > batch.num_rows * len("{}")

    def row(self, place: int) -> Row:
        """The row at `place` of this batch."""
        end = place + 1
        row_id, instruction, given, output = [
            str(data[ends[place] : ends[end]], "utf-8") for ends, data in self._texts
        ]
        is_duplicate = self._duplicate_bits[place >> 3] >> (place & 7) & 1
        first = _cut(self._duplicate_of, place) if is_duplicate else None
        extra = orjson.loads(_cut(self._extra, place)) if self._has_extra else {}
        record, line = self.record[place], self._line[place]
        return Row(row_id, instruction, given, output, record, line, first, extra)

    def id(self, place: int) -> str:
        """The id of the row at `place`."""
        return _cut(self._texts[0], place)

    def text(self, place: int) -> str:
        """`Row.text` of the row at `place`."""
        instruction, given = (_cut(column, place) for column in self._texts[1:3])
        return f"{instruction} {given}" if given else instruction


def _view(column: pa.LargeStringArray) -> Texts:
    _, ends, data = column.buffers()
    return memoryview(ends).cast("q"), memoryview(data)


def _cut(column: Texts, place: int) -> str:
    ends, data = column
    return str(data[ends[place] : ends[place + 1]], "utf-8")


def _batch_rows(rows: Iterable[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    characters = 0
    for row in rows:
        batch.append(row)
        characters += len(row.instruction) + len(row.input) + len(row.output)
        if len(batch) == BATCH_ROWS or characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _to_columns(rows: list[Row]) -> pa.RecordBatch:
    *plain, _extra = SCHEMA.names
    columns: list[list[Any]] = [[getattr(row, name) for row in rows] for name in plain]
    columns.append([orjson.dumps(dict(row.extra)).decode() for row in rows])
    arrays = [pa.array(c, field.type) for c, field in zip(columns, SCHEMA, strict=True)]
    return pa.record_batch(arrays, schema=SCHEMA)
