from __future__ import annotations

from pathlib import Path

import pytest

from mergeit_async.engine import file_system
from mergeit_async.engine.file_system import file_system_of, refuse_network
from mergeit_async.errors import UsageError


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    spaced = str(tmp_path / "my share").replace(" ", r"\040")
    table = tmp_path / "mounts"
    table.write_text(
        f"""/dev/sda1 / ext4 rw 0 0
server:/export {tmp_path}/nfs nfs4 rw 0 0
//server/share {spaced} cifs rw 0 0
/dev/sdb1 {tmp_path}/nfs/local xfs rw 0 0
broken
"""
    )
    return table


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("here", "ext4"),
        ("nfs", "nfs4"),
        ("nfs/run/that/is/not/there/yet", "nfs4"),
        ("nfs/local/run", "xfs"),
        ("nfs-like", "ext4"),
        ("my share/run", "cifs"),
    ],
)
def test_the_innermost_mount_decides(tmp_path, mounts, place, kind):
    assert file_system_of(tmp_path / place, mounts) == kind


def test_a_system_without_a_table_of_mounts_is_trusted(tmp_path):
    assert file_system_of(tmp_path, tmp_path / "none") is None


def test_a_network_file_system_is_refused_with_the_flag_that_allows_it(
    tmp_path, mounts, monkeypatch
):
    monkeypatch.setattr(file_system, "MOUNTS", mounts)

    refuse_network(tmp_path / "run")
    with pytest.raises(UsageError, match=r"nfs4.*--allow-network-fs"):
        refuse_network(tmp_path / "nfs" / "run")
