from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from mergeit_async.data.atomic import write_atomically


def test_the_file_appears_whole_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "rows.bin"

    with write_atomically(target) as file:
        file.write(b"new")
        existed_inside = target.exists()

    assert not existed_inside
    assert target.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["rows.bin"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, error: type[BaseException]
) -> None:
    target = tmp_path / "rows.bin"
    target.write_bytes(b"old")

    with pytest.raises(error), write_atomically(target) as file:
        file.write(b"half of the ne")
        raise error

    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["rows.bin"]


def test_the_old_file_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "rows.bin"
    target.write_bytes(b"something longer than the new bytes")

    with write_atomically(target) as file:
        file.write(b"new")

    assert target.read_bytes() == b"new"


def test_the_file_gets_the_rights_that_any_new_file_gets(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()

    with write_atomically(tmp_path / "atomic") as file:
        file.write(b"x")

    modes = [stat.S_IMODE(path.stat().st_mode) for path in (plain, tmp_path / "atomic")]
    assert modes[0] == modes[1]


def test_a_missing_directory_is_reported_as_such(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), write_atomically(tmp_path / "no" / "rows"):
        pass
