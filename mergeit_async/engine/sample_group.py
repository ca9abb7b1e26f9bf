"""A group of a dataset to show a prompt with: one of its rows, and the row most like it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mergeit_async.data.dataset import read_rows
from mergeit_async.errors import UsageError
from mergeit_async.providers.embeddings import load_embedder
from mergeit_async.records import Group, Row

# So many rows are looked at for the one most like it; a plan looks at all of its topic.
MOST_ROWS = 20_000
EMBEDDER = "wordllama"


def find_group(path: Path, line: int) -> Group:
    """The row on that line of the dataset (of a table: its number from 1), and its nearest other.

    Raises UsageError for a dataset that cannot be read, a line without a usable row, and a dataset
    of a single one.
    """
    rows, wanted = _read_around(path, line)
    others = [row for row in rows if row[1:4] != wanted[1:4]]
    if not others:
        raise UsageError(f"{path} has no row beside that on line {line}; a group needs two.")
    similarities = _compare(wanted, others)
    nearest = int(np.argmax(similarities))
    members = sorted((wanted, others[nearest]), key=lambda row: row.record)
    return Group(0, 0, "", tuple(members), float(similarities[nearest]))


def _read_around(path: Path, line: int) -> tuple[list[Row], Row]:
    """The first rows of a dataset, and the one on that line."""
    rows: list[Row] = []
    wanted = None
    for row in read_rows(path):
        if isinstance(row, Row) and len(rows) < MOST_ROWS:
            rows.append(row)
        if row.line == line:
            if not isinstance(row, Row):
                raise UsageError(f"{path}, line {line}: {row.detail}; choose another row.")
            wanted = row
        if wanted and len(rows) >= MOST_ROWS:
            break
    if wanted is None:
        raise UsageError(f"{path} has no row on line {line}; choose another for --row.")
    return rows, wanted


def _compare(wanted: Row, others: Sequence[Row]) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    vectors = load_embedder(EMBEDDER).embed([row.text for row in (wanted, *others)])
    similarities: np.ndarray[tuple[int], np.dtype[np.float32]] = vectors[1:] @ vectors[0]
    return similarities
