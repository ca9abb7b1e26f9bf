from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mergeit_async.data.source import Content, Defect
from mergeit_async.data.tables import read_csv, read_parquet
from mergeit_async.errors import UsageError


def read_text(tmp_path: Path, data: bytes) -> list[tuple[int, Content]]:
    path = tmp_path / "a.csv"
    path.write_bytes(data)
    return list(read_csv(path, ","))


def read_column(tmp_path: Path, column: pa.Array) -> list[Any]:
    pq.write_table(pa.table({"c": column}), tmp_path / "a.parquet")
    contents = [content for _, content in read_parquet(tmp_path / "a.parquet")]
    return [content["c"] if isinstance(content, Mapping) else content for content in contents]


def test_quotes_commas_and_line_breaks_inside_cells_are_text(tmp_path: Path) -> None:
    data = b'a,b\n"say ""hi"", please","one\ntwo\r\nthree\rfour"\n'

    assert read_text(tmp_path, data) == [
        (2, {"a": 'say "hi", please', "b": "one\ntwo\r\nthree\rfour"})
    ]


def test_a_record_stands_on_the_line_where_it_starts(tmp_path: Path) -> None:
    data = b'a,b\n\n"1\n1\n1",2\n\n3,4\n'

    assert [line for line, _ in read_text(tmp_path, data)] == [3, 7]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r\r\n"])
def test_bom_line_ends_and_spaces_around_names_do_not_matter(tmp_path: Path, end: bytes) -> None:
    data = b"\xef\xbb\xbf" + end.join([b'"a", b', b"1,2", b'"3","4"', b""])

    contents = [content for _, content in read_text(tmp_path, data)]

    assert contents == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"1", "wrong_cell_count"),
        (b"1,2,3", "wrong_cell_count"),
        ("é,2".encode("latin-1"), "broken_encoding"),
        (b'"quoted"and more,2', "broken_csv"),
    ],
)
def test_one_broken_record_is_a_defect_and_the_rest_goes_on(
    tmp_path: Path, bad: bytes, reason: str
) -> None:
    first, (line, defect), last = read_text(tmp_path, b"a,b\n1,2\n" + bad + b"\n5,6\n")

    assert (first, last) == ((2, {"a": "1", "b": "2"}), (4, {"a": "5", "b": "6"}))
    assert line == 3
    assert isinstance(defect, Defect)
    assert defect.reason == reason


def test_a_cell_of_five_megabytes_is_read(tmp_path: Path) -> None:
    ((_, content),) = read_text(tmp_path, b"a,b\n1," + b"x" * 5_000_000)

    assert isinstance(content, Mapping)
    assert len(content["b"]) == 5_000_000


def test_a_header_alone_is_a_dataset_without_records(tmp_path: Path) -> None:
    assert read_text(tmp_path, b"instruction,output\n") == []


def test_columns_without_a_name_are_numbered(tmp_path: Path) -> None:
    ((_, content),) = read_text(tmp_path, b",a,\n0,1,2\n")

    assert content == {"column_1": "0", "a": "1", "column_3": "2"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a,b,a\n1,2,3\n", "two columns named 'a'"),
        (b'"a"x,b\n1,2\n', "line 1: .*mend the header"),
        (b'a,b\n1,2\n"3,4\n5,6\n7,8\n', "line 3: a quoted cell is never closed"),
    ],
)
def test_a_file_that_cannot_be_split_safely_is_refused(
    tmp_path: Path, data: bytes, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        read_text(tmp_path, data)


def test_values_of_parquet_come_as_python_values(tmp_path: Path) -> None:
    moment = datetime(2024, 2, 29, 12, 30, tzinfo=UTC)
    for values in ([1, None], [1.5, None], [True], [date(2024, 2, 29)], [b"\xff"], [["a"], []]):
        assert read_column(tmp_path, pa.array(values)) == values
    assert read_column(tmp_path, pa.array([moment])) == [moment]


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (pa.array([1], pa.timestamp("ns")), "1970-01-01 00:00:00.000000001"),
        (pa.array([2**53], pa.timestamp("s")), str(2**53)),
    ],
)
def test_moments_that_python_cannot_hold_come_as_text(
    tmp_path: Path, column: pa.Array, text: str
) -> None:
    assert text in str(read_column(tmp_path, column)[0])


def test_text_in_parquet_that_is_not_utf8_is_a_defect_and_the_rest_goes_on(tmp_path: Path) -> None:
    column = pa.array([b"good", b"caf\xe9", None]).view(pa.string())

    good, bad, null = read_column(tmp_path, column)

    assert (good, null) == ("good", None)
    assert bad == Defect("broken_encoding", "byte 0xe9 is not UTF-8")


@pytest.mark.parametrize("data", [b"PAR1", b"PAR1" + b"\0" * 64 + b"PAR1", b"instruction,output\n"])
def test_a_parquet_file_that_is_none_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(data)

    with pytest.raises(UsageError, match=r"a\.parquet is not a readable Parquet file"):
        list(read_parquet(path))


def test_parquet_without_rows_is_a_dataset_without_records(tmp_path: Path) -> None:
    assert read_column(tmp_path, pa.array([], pa.string())) == []


def test_parquet_with_a_repeated_column_is_refused(tmp_path: Path) -> None:
    table = pa.table([pa.array(["x"]), pa.array(["y"])], names=["a", "a"])
    pq.write_table(table, tmp_path / "a.parquet")

    with pytest.raises(UsageError, match="two columns named 'a'"):
        list(read_parquet(tmp_path / "a.parquet"))
