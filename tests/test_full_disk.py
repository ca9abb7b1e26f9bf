"""A disk that fills up while a run writes to it: one sentence, and no byte is lost or different."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mergeit_async.simulator.server import Simulator
from mergeit_async.simulator.settings import SimulatorSettings
from tests.running import (
    asking,
    call,
    hashes,
    simulated,
    started,
    wait_until,
    write_dataset,
)

DISK_KB = 4096
IN_FLIGHT = 4
# What there is room for beside the settings of a run; its journal takes 64 KB before any call,
# its rows 32, its topics another 32, its result 68.
BEGINNING, OPENING, PLANNING, EXPORTING = 4, 40, 84, 52


@pytest.fixture(scope="module")
def server() -> Iterator[Simulator]:
    with simulated(SimulatorSettings(latency_s=0.05)) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("rows") / "rows.jsonl", 240)


@pytest.fixture(scope="module")
def undisturbed(server: Simulator, dataset: Path) -> dict[str, str]:
    """The hashes of a run on a disk with room."""
    out = dataset.with_name("undisturbed")
    done = call("run", dataset, "--out", out, *asking(dataset, server.url))
    assert done.returncode == 0, done.stderr
    return hashes(out)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of the test's own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("there is no mount on this machine")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_KB}k", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"mounting is not permitted here: {mounted.stderr.splitlines()[0]}")
    try:
        yield folder
    finally:
        # Lazily: it goes even where something still has a file open.
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path, room_kb: int = 0) -> Path:
    """Fill the disk up to so much room; returns the file to remove for having room again."""
    filler = disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(disk).free - room_kb * 1024))
    return filler


def assert_asks_for_room(code: int | None, stderr: str, out: Path) -> None:
    assert code == 3, stderr
    said, command = stderr.strip().splitlines()[-2:]
    assert "No space left on device" in said or "disk is full" in said
    assert said.endswith("; make room or mend the disk.")
    assert str(out) in said
    assert command == f"python -m mergeit_async resume {out}"
    assert "Traceback" not in stderr
    assert not (out / "merged.jsonl").exists()


def assert_resumes_once_there_is_room(out: Path, filler: Path, straight: dict[str, str]) -> None:
    filler.unlink()
    done = call("resume", out)
    assert done.returncode == 0, done.stderr
    assert hashes(out) == straight
    assert list(out.rglob("*.tmp")) == []


@pytest.mark.parametrize("room_kb", [BEGINNING, OPENING, PLANNING])
def test_a_disk_that_is_full_before_the_plan_is_written_asks_for_room(
    server, dataset, undisturbed, disk, room_kb
):
    out, filler, arrivals = disk / "run", fill(disk, room_kb), server.stats.arrivals

    done = call("run", dataset, "--out", out, *asking(dataset, server.url))

    assert_asks_for_room(done.returncode, done.stderr, out)
    assert server.stats.arrivals == arrivals
    assert_resumes_once_there_is_room(out, filler, undisturbed)


def test_a_disk_that_fills_up_while_merging_costs_no_more_than_the_calls_in_flight(
    server, dataset, undisturbed, disk
):
    out = disk / "run"
    server.stats.reset()
    options = (*asking(dataset, server.url), "--max-in-flight", IN_FLIGHT)

    with started("run", dataset, "--out", out, *options) as process:
        wait_until(lambda: server.stats.answered >= 20)
        filler = fill(disk)
        _, stderr = process.communicate(timeout=30)
    still_full = call("resume", out)

    assert_asks_for_room(process.returncode, stderr, out)
    assert_asks_for_room(still_full.returncode, still_full.stderr, out)
    assert 20 <= server.stats.answered < 118
    assert_resumes_once_there_is_room(out, filler, undisturbed)
    # Replies that could not be written, two workers to a place in flight.
    assert server.stats.snapshot()["answered_more_than_once"] <= 2 * IN_FLIGHT


def test_a_disk_that_is_full_at_the_export_asks_for_room(server, dataset, undisturbed, disk):
    out = disk / "run"
    assert call("run", dataset, "--out", out, *asking(dataset, server.url)).returncode == 0
    for name in ("merged.jsonl", "lineage.jsonl", "filtered.jsonl"):
        (out / name).unlink()
    filler, arrivals = fill(disk, EXPORTING), server.stats.arrivals

    done = call("resume", out)

    assert_asks_for_room(done.returncode, done.stderr, out)
    assert_resumes_once_there_is_room(out, filler, undisturbed)
    assert server.stats.arrivals == arrivals
