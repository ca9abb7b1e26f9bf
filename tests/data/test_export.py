from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from mergeit_async.data.export import FORMATS, export_alpaca, write_jsonl
from mergeit_async.errors import UsageError

MERGED = [
    {"instruction": "Add.", "input": "1\n1", "output": "2", "id": "a"},
    {"instruction": "שלום </script>", "input": "", "output": "👋\u2028", "id": "b"},
]
FIELDS = [{k: row[k] for k in ("instruction", "input", "output")} for row in MERGED]


def test_jsonl_holds_one_object_a_line(tmp_path: Path) -> None:
    count = write_jsonl(tmp_path / "a.jsonl", iter(MERGED))

    lines = (tmp_path / "a.jsonl").read_bytes().split(b"\n")
    assert count == 2
    assert [orjson.loads(line) for line in lines[:-1]] == MERGED
    assert lines[-1] == b""


def test_jsonl_of_nothing_is_an_empty_file(tmp_path: Path) -> None:
    assert write_jsonl(tmp_path / "a.jsonl", []) == 0
    assert (tmp_path / "a.jsonl").read_bytes() == b""


def test_a_failing_source_leaves_the_old_jsonl(tmp_path: Path) -> None:
    def fail_after_one() -> Iterator[dict[str, Any]]:
        yield MERGED[0]
        raise RuntimeError("stopped")

    (tmp_path / "a.jsonl").write_text("old")

    with pytest.raises(RuntimeError, match="stopped"):
        write_jsonl(tmp_path / "a.jsonl", fail_after_one())

    assert (tmp_path / "a.jsonl").read_text() == "old"


@pytest.mark.parametrize("rows", [[], MERGED[:1], MERGED])
def test_alpaca_is_one_array_of_the_three_fields(tmp_path: Path, rows: list[Any]) -> None:
    write_jsonl(tmp_path / "merged.jsonl", rows)

    count = FORMATS["alpaca"](tmp_path / "merged.jsonl", tmp_path / "alpaca.json")

    written = json.loads((tmp_path / "alpaca.json").read_text(encoding="utf-8"))
    assert written == FIELDS[: len(rows)]
    assert count == len(rows)


def test_an_export_never_overwrites(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "merged.jsonl", MERGED)
    (tmp_path / "mine.json").write_text("precious")

    with pytest.raises(UsageError, match=r"mine\.json exists already; remove it or choose"):
        export_alpaca(tmp_path / "merged.jsonl", tmp_path / "mine.json")

    assert (tmp_path / "mine.json").read_text() == "precious"


def test_an_export_into_a_missing_directory_is_refused(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "merged.jsonl", MERGED)

    with pytest.raises(UsageError, match="no is not a directory"):
        export_alpaca(tmp_path / "merged.jsonl", tmp_path / "no" / "a.json")


def test_an_export_of_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"merged\.jsonl cannot be read .* finish the run"):
        export_alpaca(tmp_path / "merged.jsonl", tmp_path / "a.json")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("line", ["cut o", '{"instruction": "Add."}', "[1]", "null"])
def test_a_damaged_result_is_refused_naming_the_line(tmp_path: Path, line: str) -> None:
    write_jsonl(tmp_path / "merged.jsonl", MERGED)
    with open(tmp_path / "merged.jsonl", "a") as file:
        file.write(line + "\n")

    with pytest.raises(UsageError, match=r"merged\.jsonl, line 3 is not a merged row"):
        export_alpaca(tmp_path / "merged.jsonl", tmp_path / "a.json")

    assert not (tmp_path / "a.json").exists()
