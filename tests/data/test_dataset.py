from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mergeit_async.data.dataset import dataset_digest, read_rows
from mergeit_async.data.normalise import clear_input, normalise_text
from mergeit_async.errors import UsageError
from mergeit_async.ids import row_id
from mergeit_async.records import Example, Rejected, Row

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
FIELDS = ("instruction", "input", "output")
Record = Mapping[str, Any]

TEXT = st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from('",\r\n\0\ufeff \t')))
NEEDED = TEXT.filter(normalise_text)
EXAMPLES = st.builds(Example, NEEDED, TEXT | st.just("<noinput>"), NEEDED)


def write_lines(path: Path, records: list[Record]) -> None:
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")


def write_array(path: Path, records: list[Record]) -> None:
    path.write_text(json.dumps(records, ensure_ascii=False), encoding="utf-8")


def write_table(path: Path, records: list[Record]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(records)


def write_parquet(path: Path, records: list[Record]) -> None:
    pq.write_table(pa.Table.from_pylist(records), path)


WRITERS: Mapping[str, Callable[[Path, list[Record]], None]] = {
    "a.jsonl": write_lines,
    "a.json": write_array,
    "a.csv": write_table,
    "a.tsv": write_table,
    "a.parquet": write_parquet,
}


def as_record(example: Example) -> Record:
    return {name: getattr(example, name) for name in FIELDS}


def expected_rows(examples: list[Example]) -> list[tuple[str, Example]]:
    clean = [
        Example(
            normalise_text(e.instruction),
            clear_input(normalise_text(e.input)),
            normalise_text(e.output),
        )
        for e in examples
    ]
    return [(row_id(e, clean[:place].count(e)), e) for place, e in enumerate(clean)]


@pytest.mark.parametrize("name", WRITERS)
def test_any_examples_read_back_as_the_same_rows_from_every_format(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    path = tmp_path_factory.mktemp("any") / name

    @settings(deadline=None, max_examples=40)  # each one writes a file
    @given(st.lists(EXAMPLES, min_size=1, max_size=4))
    def check(examples: list[Example]) -> None:
        WRITERS[name](path, [as_record(e) for e in examples])
        rows = [row for row in read_rows(path) if isinstance(row, Row)]
        read = [(row.id, Example(row.instruction, row.input, row.output)) for row in rows]
        assert read == expected_rows(examples)

    check()


def test_repeats_are_numbered_and_name_the_first(tmp_path: Path) -> None:
    example = Example("Add 1 and 1.", "", "2")
    other = Example("Add 1 and 2.", "", "3")
    write_lines(tmp_path / "a.jsonl", [as_record(e) for e in (example, other, example, example)])

    rows = [row for row in read_rows(tmp_path / "a.jsonl") if isinstance(row, Row)]

    first = row_id(example, 0)
    assert [row.id for row in rows] == [
        first,
        row_id(other, 0),
        row_id(example, 1),
        row_id(example, 2),
    ]
    assert [row.duplicate_of for row in rows] == [None, None, first, first]


def test_repeats_are_found_after_normalising_and_whatever_their_extra(tmp_path: Path) -> None:
    records = [
        {"instruction": "Add.", "input": "No input", "output": "2\r\n", "id": 1},
        {"instruction": " Add. ", "output": 2, "id": 2},
    ]
    write_lines(tmp_path / "a.jsonl", records)

    first, second = read_rows(tmp_path / "a.jsonl")

    assert isinstance(first, Row)
    assert isinstance(second, Row)
    assert second.duplicate_of == first.id != second.id
    assert (first.extra, second.extra) == ({"id": 1}, {"id": 2})


def test_rejects_and_rows_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"instruction": "Add.", "output": "2"}\n'
        "broken\n"
        '{"instruction": "", "output": "2"}\n'
        '{"instruction": "Add.", "output": null}\n'
        '{"instruction": "Add.", "output": ["2"]}\n'
        '{"instruction": "Add.", "output": "3"}\n'
    )

    items = list(read_rows(path))

    assert [(item.record, item.line) for item in items] == [(n, n + 1) for n in range(6)]
    assert [item.reason if isinstance(item, Rejected) else "" for item in items] == [
        "",
        "broken_json",
        "empty_instruction",
        "empty_output",
        "not_text",
        "",
    ]
    assert {item.file for item in items if isinstance(item, Rejected)} == {str(path)}


def test_the_limit_counts_records_usable_or_not(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"instruction": "Add.", "output": "2"}\n\nbroken\n' * 3)

    items = list(read_rows(path, limit=3))

    assert [type(item) for item in items] == [Row, Rejected, Row]
    assert list(read_rows(path, limit=0)) == []


def test_columns_are_mapped_and_the_others_are_extra(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", [{"q": "Add.", "a": "2", "input": "1 1", "score": 0.5}])

    (row,) = read_rows(tmp_path / "a.parquet", {"instruction": "q", "output": "a"})

    assert isinstance(row, Row)
    assert (row.instruction, row.input, row.output) == ("Add.", "1 1", "2")
    assert row.extra == {"score": 0.5}


def test_missing_columns_are_judged_at_the_first_usable_record(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('broken\n{"prompt": "Add.", "response": "2"}\n')
    rows = read_rows(path)

    assert isinstance(next(rows), Rejected)
    with pytest.raises(UsageError, match=r"a\.jsonl, line 2: .*found 'prompt', 'response'.*--col"):
        next(rows)


def test_a_column_that_only_later_records_lack_is_empty_there(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"instruction": "Add.", "output": "2"}\n{"instruction": "Add."}\n')

    row, reject = read_rows(path)

    assert isinstance(row, Row)
    assert isinstance(reject, Rejected)
    assert reject.reason == "empty_output"


@pytest.mark.parametrize(
    ("name", "text"), [("a.json", "[]"), ("a.json", " [ ]\n"), ("a.csv", "instruction,output\n")]
)
def test_a_dataset_of_no_records_in_valid_form_gives_no_rows(
    tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text)

    assert list(read_rows(tmp_path / name)) == []


def test_a_parquet_dataset_of_no_records_gives_no_rows(tmp_path: Path) -> None:
    pq.write_table(pa.table({"instruction": pa.array([], pa.string())}), tmp_path / "a.parquet")

    assert list(read_rows(tmp_path / "a.parquet")) == []


@pytest.mark.parametrize("read", [read_rows, dataset_digest])
def test_a_path_that_cannot_be_read_is_refused_at_once(
    tmp_path: Path, read: Callable[[Path], object]
) -> None:
    (tmp_path / "empty.jsonl").touch()
    os.mkfifo(tmp_path / "pipe.jsonl")

    for path, message in [
        (tmp_path / "typo.jsonl", r"typo\.jsonl does not exist"),
        (tmp_path, "is a directory"),
        (tmp_path / "empty.jsonl", r"empty\.jsonl is empty"),
        (tmp_path / "pipe.jsonl", "is not a regular file"),
        (tmp_path / "empty.jsonl" / "below", "does not exist"),
        (tmp_path / ("x" * 300), r"cannot be reached \(File name too long\)"),
    ]:
        with pytest.raises(UsageError, match=message):
            read(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_the_right_to_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("{}")
    path.chmod(0)

    with pytest.raises(UsageError, match="may not be read"):
        read_rows(path)


def test_the_digest_is_of_the_bytes_of_the_file(tmp_path: Path) -> None:
    data = b"some bytes \xff" * 100_000
    (tmp_path / "a").write_bytes(data)

    assert dataset_digest(tmp_path / "a") == blake2b(data, digest_size=16).hexdigest()


@pytest.mark.parametrize(
    ("name", "records", "empty_outputs", "extra"),
    [
        ("alpaca_17k.jsonl", 17_387, 9, set()),
        ("code_alpaca_2k.json", 2_017, 2, set()),
        ("mergeit_6k.json", 6_159, 4, {"quality_score", "complexity_score"}),
    ],
)
def test_public_datasets_are_read_whole(
    name: str, records: int, empty_outputs: int, extra: set[str]
) -> None:
    if not (SHARED / name).exists():
        pytest.skip(f"{name} is not on this machine")

    items = list(read_rows(SHARED / name))

    rejects = Counter(item.reason for item in items if isinstance(item, Rejected))
    assert len(items) == records
    assert rejects == {"empty_output": empty_outputs}
    assert {key for item in items if isinstance(item, Row) for key in item.extra} == extra


def test_alpaca_ends_with_no_input_that_only_says_so() -> None:
    if not (SHARED / "alpaca_17k.jsonl").exists():
        pytest.skip("alpaca_17k.jsonl is not on this machine")

    rows = [row for row in read_rows(SHARED / "alpaca_17k.jsonl") if isinstance(row, Row)]

    inputs = Counter(row.input for row in rows)
    assert inputs[""] == 11_574
    assert [text for text in inputs if "noinput" in text.lower() and len(text) < 12] == [
        "<noinput> 8",
        "<noinpute>",
    ]
