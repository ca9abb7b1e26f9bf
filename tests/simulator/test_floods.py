from __future__ import annotations

import gzip
import subprocess
import sys
import time
import zlib
from itertools import accumulate, islice
from pathlib import Path
from socket import create_connection
from urllib.parse import urlsplit

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mergeit_async.simulator.floods import flood, gzip_bomb, in_chunks
from tests.simulator.raw_client import chat_body, post

PROGRAM = """
from mergeit_async.simulator.server import serve
from mergeit_async.simulator.settings import SimulatorSettings
serve(SimulatorSettings(faults={"huge": 1.0}, huge_bytes=200_000_000))
"""


@pytest.mark.parametrize("total", [300, 262_144, 3_000_000])
def test_a_flood_is_a_completion_of_just_that_size(total: int) -> None:
    whole = b"".join(flood(total))
    choice = orjson.loads(whole)["choices"][0]

    assert len(whole) == total
    assert set(choice["message"]["content"]) == {"0"}
    assert choice["finish_reason"] == "stop"


def test_a_flood_comes_in_pieces_of_which_one_at_a_time_is_there() -> None:
    sizes = accumulate(len(piece) for piece in flood(10**9))

    assert next(islice(sizes, 100, None)) < 30_000_000


def test_chunks_say_their_length_and_that_they_end() -> None:
    assert b"".join(in_chunks(iter([b"abc", b"0123456789abcdef"]))) == (
        b"3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n"
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 5 * 2**20))
def test_a_bomb_unpacks_to_a_flood(total: int) -> None:
    length, pieces = gzip_bomb(total)
    packed = b"".join(pieces)

    assert len(packed) == length
    assert gzip.decompress(packed) == b"".join(flood(total))


def test_a_bomb_is_a_thousand_times_smaller_than_what_it_holds() -> None:
    began_s = time.process_time()
    length, pieces = gzip_bomb(10**9)
    packed = b"".join(pieces)

    assert time.process_time() - began_s < 1
    assert len(packed) == length < 1_100_000
    # The trailer is that of a real one: the check sum is known without unpacking.
    assert int.from_bytes(packed[-4:], "little") == 10**9


def test_the_check_sum_of_a_large_bomb_is_right() -> None:
    _, pieces = gzip_bomb(50_000_000)

    checked = 0
    for piece in flood(50_000_000):
        checked = zlib.crc32(piece, checked)

    assert int.from_bytes(b"".join(pieces)[-8:-4], "little") == checked


def peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_a_huge_answer_does_not_make_the_server_grow() -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            place = urlsplit(server.stdout.readline().split()[-1].decode())
            before_mb = peak_mb(server.pid)
            with create_connection((place.hostname, place.port)) as wire:
                wire.sendall(post(chat_body(), "Connection: close"))
                wire.recv(1)
                time.sleep(0.2)  # a reader that is slow: without flow control all of it piles up
                waiting_mb = peak_mb(server.pid)
                received = sum(iter(lambda: len(wire.recv(2**20)), 0))
            after_mb = peak_mb(server.pid)
        finally:
            server.kill()

    assert received > 200_000_000
    assert waiting_mb - before_mb < 10
    assert after_mb - before_mb < 10
