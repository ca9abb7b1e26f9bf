from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mergeit_async.data.store import BATCH_ROWS, RowStore, write_rows
from mergeit_async.errors import UsageError
from mergeit_async.records import Row

TEXT = st.text(st.characters(codec="utf-8"))
NUMBERS = st.integers(-(2**63), 2**63 - 1)
EXTRAS = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
ROWS = st.builds(
    Row,
    id=TEXT,
    instruction=TEXT,
    input=TEXT,
    output=TEXT,
    record=NUMBERS,
    line=NUMBERS,
    duplicate_of=st.none() | TEXT,
    extra=st.dictionaries(TEXT, EXTRAS, max_size=3),
)


def make_row(number: int) -> Row:
    return Row(
        id=f"{number:032x}",
        instruction=f"Double {number}.",
        input="in words" if number % 3 == 0 else "",
        output=str(2 * number),
        record=2 * number,
        line=2 * number + 1,
        duplicate_of="0" * 32 if number % 5 == 4 else None,
        extra={"n": number},
    )


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return [make_row(number) for number in range(2 * BATCH_ROWS + 3)]


@pytest.fixture(scope="module")
def store(rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RowStore]:
    path = tmp_path_factory.mktemp("store") / "rows.arrow"
    write_rows(path, iter(rows))
    with RowStore.open(path) as store:
        yield store


def test_any_row_comes_back_equal(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("any") / "rows.arrow"

    @settings(deadline=None, max_examples=40)  # each one writes a file
    @given(st.lists(ROWS, max_size=4))
    def check(rows: list[Row]) -> None:
        assert write_rows(path, rows) == len(rows)
        with RowStore.open(path) as store:
            assert [store[index] for index in range(len(store))] == rows
            assert list(store.iter_texts(range(len(rows)))) == [row.text for row in rows]
            assert store.records().tolist() == [row.record for row in rows]

    check()


@pytest.mark.parametrize("extra", [{}, {"": 0}])
def test_rows_with_hardly_any_other_columns_come_back_equal(
    tmp_path: Path, extra: dict[str, int]
) -> None:
    rows = [make_row(number)._replace(extra=extra if number == 5 else {}) for number in range(9)]
    write_rows(tmp_path / "rows.arrow", rows)

    with RowStore.open(tmp_path / "rows.arrow") as store:
        assert [store[index] for index in range(len(store))] == rows


@pytest.mark.parametrize(
    "index", [0, 1, BATCH_ROWS - 1, BATCH_ROWS, 2 * BATCH_ROWS, 2 * BATCH_ROWS + 2]
)
def test_a_row_is_found_in_whichever_batch_it_is(
    store: RowStore, rows: list[Row], index: int
) -> None:
    assert store[index] == store[np.int64(index)] == rows[index]


def test_the_length_and_the_arrays_cover_all_rows(store: RowStore, rows: list[Row]) -> None:
    assert len(store) == len(rows)
    assert store.records().dtype == np.int64
    assert store.records().tolist() == [row.record for row in rows]
    assert store.duplicates().dtype == np.bool_
    assert store.duplicates().tolist() == [row.duplicate_of is not None for row in rows]


def test_texts_and_ids_come_in_the_order_asked_for(store: RowStore, rows: list[Row]) -> None:
    indices = np.random.default_rng(7).integers(0, len(rows), 500)

    assert list(store.iter_texts(indices)) == [rows[index].text for index in indices]
    assert store.ids(indices) == [rows[index].id for index in indices]


@pytest.mark.parametrize("index", [-1, 2 * BATCH_ROWS + 3, 10**12])
def test_a_position_outside_is_an_index_error(store: RowStore, index: int) -> None:
    with pytest.raises(IndexError, match=str(index)):
        store[index]


def test_an_empty_store_has_no_rows(tmp_path: Path) -> None:
    assert write_rows(tmp_path / "rows.arrow", []) == 0

    with RowStore.open(tmp_path / "rows.arrow") as store:
        assert len(store) == 0
        assert store.records().shape == store.duplicates().shape == (0,)


def test_long_rows_make_short_batches(tmp_path: Path) -> None:
    long = [Row(str(n), "x" * 12_000_000, "", "y", n, n + 1) for n in range(4)]
    write_rows(tmp_path / "rows.arrow", long)

    with RowStore.open(tmp_path / "rows.arrow") as store:
        assert len(store._batches) == 2
        assert [store[index].id for index in range(4)] == ["0", "1", "2", "3"]
        assert store[3] == long[3]


def test_a_row_outlives_its_store(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.arrow", [make_row(1)])
    store = RowStore.open(tmp_path / "rows.arrow")

    row = store[0]
    store.close()

    assert row == make_row(1)
    with pytest.raises(IndexError):
        store[0]


def test_two_threads_may_read_at_once(store: RowStore, rows: list[Row]) -> None:
    wrong: list[int] = []

    def read(seed: int) -> None:
        for index in np.random.default_rng(seed).integers(0, len(rows), 3_000):
            if store[index] != rows[index]:
                wrong.append(int(index))

    threads = [threading.Thread(target=read, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


def test_a_failing_source_leaves_no_store(tmp_path: Path) -> None:
    def fail_after_one() -> Iterator[Row]:
        yield make_row(0)
        raise RuntimeError("the dataset is cut off")

    with pytest.raises(RuntimeError, match="cut off"):
        write_rows(tmp_path / "rows.arrow", fail_after_one())

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("data", [None, b"", b"not an Arrow file", b"ARROW1\0\0"])
def test_a_store_that_is_missing_or_damaged_is_refused(tmp_path: Path, data: bytes | None) -> None:
    path = tmp_path / "rows.arrow"
    if data is not None:
        path.write_bytes(data)

    with pytest.raises(UsageError, match=r"rows\.arrow cannot be read as stored rows"):
        RowStore.open(path)


def test_an_arrow_file_of_other_columns_is_refused(tmp_path: Path) -> None:
    table = pa.table({"id": ["a"], "instruction": ["Add."]})
    with pa.ipc.new_file(str(tmp_path / "rows.arrow"), table.schema) as writer:
        writer.write_table(table)

    with pytest.raises(UsageError, match=r"rows\.arrow cannot be read as stored rows"):
        RowStore.open(tmp_path / "rows.arrow")
