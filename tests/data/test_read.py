from __future__ import annotations

import gzip
import io
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from mergeit_async.data.read import read_records
from mergeit_async.errors import UsageError
from mergeit_async.records import Rejected

RECORDS = [{"instruction": f"Add {n} and {n}.", "output": str(2 * n)} for n in range(4)]
LINES = "".join(json.dumps(record) + "\n" for record in RECORDS).encode()
ARRAY = json.dumps(RECORDS).encode()
CSV = ("instruction,output\n" + "".join(",".join(r.values()) + "\n" for r in RECORDS)).encode()
PACK: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "zst": zstandard.compress}


def place(tmp_path: Path, name: str, data: bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def contents(path: Path) -> list[object]:
    return [content for _, _, content in read_records(path)]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl", LINES),
        ("a.ndjson", LINES),
        ("a.json", ARRAY),
        ("a.v2.JSON", ARRAY),
        ("a.csv", CSV),
        ("a.tsv", CSV.replace(b",", b"\t")),
        ("A.CSV", CSV),
    ],
)
@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
def test_each_text_format_is_read_plain_and_packed(
    tmp_path: Path, name: str, data: bytes, packing: str
) -> None:
    packed = PACK[packing[1:]](data) if packing else data

    assert contents(place(tmp_path, name + packing, packed)) == RECORDS


def test_parquet_is_read(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(RECORDS), tmp_path / "a.parquet")

    assert contents(tmp_path / "a.parquet") == RECORDS


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("an array.jsonl", ARRAY),
        ("an indented array.jsonl", json.dumps(RECORDS, indent=2).encode()),
        ("lines.json", LINES),
        ("unpacked on the way.jsonl.gz", LINES),
        ("packed.jsonl", gzip.compress(LINES, mtime=0)),
        ("lines without suffix", b"\n\n  " + LINES),
        ("array.of.unknown", b"\xef\xbb\xbf\r\n" + ARRAY),
    ],
)
def test_the_first_byte_decides_where_the_suffix_lies(
    tmp_path: Path, name: str, data: bytes
) -> None:
    assert contents(place(tmp_path, name, data)) == RECORDS


def test_json_lines_that_begin_with_an_array_lose_only_that_line(tmp_path: Path) -> None:
    first, *rest = contents(place(tmp_path, "a.jsonl", b"[1, 2]\n" + LINES))

    assert isinstance(first, Rejected)
    assert first.reason == "not_an_object"
    assert rest == RECORDS


@pytest.mark.parametrize("data", [CSV, b"PK\x03\x04 a zip archive", b"BZh9 something"])
def test_an_unknown_format_is_refused_with_what_is_supported(tmp_path: Path, data: bytes) -> None:
    path = place(tmp_path, "data.txt", data)

    with pytest.raises(UsageError, match=r"data\.txt has no known format.*\.jsonl.*\.parquet"):
        contents(path)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.parquet", "a"])
def test_a_file_of_white_space_is_refused_as_empty(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is empty"):
        contents(place(tmp_path, name, b"\xef\xbb\xbf \r\n\t\n"))


@pytest.mark.parametrize("packing", ["gz", "zst"])
def test_a_packed_empty_file_is_refused_as_empty(tmp_path: Path, packing: str) -> None:
    with pytest.raises(UsageError, match="is empty"):
        contents(place(tmp_path, f"a.jsonl.{packing}", PACK[packing](b"")))


@pytest.mark.parametrize("packing", ["gz", "zst"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.999])
def test_a_packed_file_that_is_cut_off_is_refused(
    tmp_path: Path, packing: str, kept: float
) -> None:
    packed = PACK[packing](b"".join(b'{"n": %d}\n' % n for n in range(20_000)))
    path = place(tmp_path, f"a.jsonl.{packing}", packed[: int(len(packed) * kept)])

    with pytest.raises(UsageError, match=r"cannot be read to its end .* cut off"):
        contents(path)


@pytest.mark.parametrize("packing", ["gz", "zst"])
def test_a_packed_file_with_a_flipped_bit_is_refused(tmp_path: Path, packing: str) -> None:
    if packing == "gz":
        packed = bytearray(gzip.compress(LINES * 500))
    else:
        compressor = zstandard.ZstdCompressor(write_checksum=True)
        packed = bytearray(compressor.compress(LINES * 500))
    packed[-3] ^= 1

    with pytest.raises(UsageError, match="cannot be read to its end"):
        contents(place(tmp_path, f"a.jsonl.{packing}", bytes(packed)))


@pytest.mark.parametrize("packing", ["gz", "zst"])
def test_packed_files_joined_end_to_end_are_read_whole(tmp_path: Path, packing: str) -> None:
    pack = PACK[packing]

    assert contents(place(tmp_path, f"a.jsonl.{packing}", pack(LINES) * 3)) == RECORDS * 3


def test_records_are_counted_with_the_unusable_ones_and_lines_with_the_blank_ones(
    tmp_path: Path,
) -> None:
    data = b'{"n": 0}\n\nbroken\n   \n{"n": 2}\n'

    places = [(record, line) for record, line, _ in read_records(place(tmp_path, "a.jsonl", data))]

    assert places == [(0, 1), (1, 3), (2, 5)]


def test_records_of_an_array_and_of_parquet_have_their_number_as_line(tmp_path: Path) -> None:
    array = place(tmp_path, "a.json", json.dumps(RECORDS, indent=4).encode())
    pq.write_table(pa.Table.from_pylist(RECORDS), tmp_path / "a.parquet")

    for path in (array, tmp_path / "a.parquet"):
        places = [(record, line) for record, line, _ in read_records(path)]
        assert places == [(0, 1), (1, 2), (2, 3), (3, 4)]


def test_a_reject_names_its_file_and_place(tmp_path: Path) -> None:
    path = place(tmp_path, "a.jsonl", b'{"n": 0}\n[1, 2]\n')

    (_, _, _), (record, line, reject) = read_records(path)

    assert (record, line) == (1, 2)
    assert isinstance(reject, Rejected)
    assert (reject.file, reject.record, reject.line) == (str(path), 1, 2)
    assert reject.reason == "not_an_object"


@pytest.mark.parametrize(
    ("name", "data", "line"),
    [
        ("a.jsonl", b"\nbroken\nbroken\n", 2),
        ("a.jsonl", b"\xff\xfe{\x00}\x00\n\x00", 1),
        ("a.jsonl", "{'instruction': 'café'}\n".encode("latin-1"), 1),
        ("a.json", b'{\n "instruction": "Add.",\n "output": "2"\n}', 1),
        ("a.json", b'["one", "two"]', 1),
        ("a.csv", b"instruction,output\nno comma here\n", 2),
    ],
)
def test_a_file_without_one_usable_record_is_refused_naming_the_first_line(
    tmp_path: Path, name: str, data: bytes, line: int
) -> None:
    path = place(tmp_path, name, data)

    with pytest.raises(UsageError, match=rf"no usable record: line {line}: .*give a dataset as"):
        contents(path)


def test_the_limit_stops_before_the_next_record_is_read(tmp_path: Path) -> None:
    path = place(tmp_path, "a.jsonl", LINES + b"broken\n")

    assert [record for record, _, _ in read_records(path, limit=3)] == [0, 1, 2]
    assert list(read_records(path, limit=0)) == []


def test_a_limit_that_reaches_only_broken_records_is_refused(tmp_path: Path) -> None:
    path = place(tmp_path, "a.jsonl", b"broken\n" + LINES)

    with pytest.raises(UsageError, match="line 1"):
        list(read_records(path, limit=1))


def test_a_long_stream_is_not_held_in_memory(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zstandard.ZstdCompressor().stream_writer(packed, closefd=False) as writer:
        for _ in range(64):
            writer.write(json.dumps({"output": "x" * (1 << 20)}).encode() + b"\n")
    path = place(tmp_path, "a.jsonl.zst", packed.getvalue())
    del packed
    tracemalloc.start()

    count = sum(1 for _ in read_records(path))

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 64
    assert peak < 24 << 20
