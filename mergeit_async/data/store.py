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
ID, INSTRUCTION, INPUT, _, RECORD, _, DUPLICATE_OF, EXTRA = range(len(SCHEMA))
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
        batches = [file.get_batch(place) for place in range(file.num_record_batches)]
        self._source = source
        # One list of columns a batch, so that a row costs no walk through Arrow's own objects.
        self._batches = [batch.columns for batch in batches]
        self._starts = [0, *accumulate(batch.num_rows for batch in batches)]

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
        return int(self._starts[-1])

    def __getitem__(self, index: SupportsIndex) -> Row:
        columns, offset = self._locate(index)
        values = [column[offset].as_py() for column in columns]
        values[EXTRA] = orjson.loads(values[EXTRA])
        return Row(*values)

    def ids(self, indices: Iterable[SupportsIndex]) -> list[str]:
        """The ids of the rows at `indices`, in that order."""
        located = map(self._locate, indices)
        return [columns[ID][offset].as_py() for columns, offset in located]

    def iter_texts(self, indices: Iterable[SupportsIndex]) -> Iterator[str]:
        """`Row.text` of the rows at `indices`, in that order."""
        for columns, offset in map(self._locate, indices):
            instruction, given = (columns[c][offset].as_py() for c in (INSTRUCTION, INPUT))
            yield f"{instruction} {given}" if given else instruction

    def records(self) -> npt.NDArray[np.int64]:
        """(n_rows,) int64: the place of each row's record in the dataset file."""
        parts = [columns[RECORD].to_numpy() for columns in self._batches]
        return np.concatenate([np.empty(0, np.int64), *parts])

    def duplicates(self) -> npt.NDArray[np.bool_]:
        """(n_rows,) bool: whether a row repeats an earlier one."""
        flags = [columns[DUPLICATE_OF].is_valid() for columns in self._batches]
        parts = [flag.to_numpy(zero_copy_only=False) for flag in flags]
        return np.concatenate([np.empty(0, np.bool_), *parts])

    def _locate(self, index: SupportsIndex) -> tuple[list[pa.Array], int]:
        place = operator.index(index)
        if not 0 <= place < len(self):
            raise IndexError(f"row {place} of {len(self)}")
        batch = bisect_right(self._starts, place) - 1
        return self._batches[batch], place - self._starts[batch]


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
    names: list[str] = SCHEMA.names[:EXTRA]
    columns: list[list[Any]] = [[getattr(row, name) for row in rows] for name in names]
    columns.append([orjson.dumps(dict(row.extra)).decode() for row in rows])
    arrays = [pa.array(c, field.type) for c, field in zip(columns, SCHEMA, strict=True)]
    return pa.record_batch(arrays, schema=SCHEMA)
