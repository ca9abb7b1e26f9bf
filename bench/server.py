"""The simulator as benches use it: in a process of its own, with its CPU time."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import orjson


class Server:
    """The simulator in a process of its own."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, "-m", "mergeit_async", "simulator", *options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        # Each call in flight needs a file of its own on this side too.
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.prlimit(self._process.pid, resource.RLIMIT_NOFILE, (most, most))
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        self.url = next(word for word in line.split() if word.startswith("http"))
        self._root = self.url.removesuffix("/v1")

    def stats(self) -> dict[str, Any]:
        """What it saw since its start or the last `reset`."""
        with urlopen(f"{self._root}/stats?digests=0") as answer:
            seen: dict[str, Any] = orjson.loads(answer.read())
        return seen

    def reset(self) -> None:
        """Forget what it saw."""
        urlopen(f"{self._root}/stats/reset", data=b"").close()

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)


@contextmanager
def serving(*options: str) -> Iterator[Server]:
    """A simulator with these options while the block runs."""
    server = Server(*options)
    try:
        yield server
    finally:
        server.stop()
