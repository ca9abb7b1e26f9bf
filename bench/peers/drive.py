"""Send a file of chat bodies through one rival; the Python of its own environment runs this.

    .venv/PEER/bin/python -I drive.py PEER BODIES.jsonl --url URL --in-flight N

Prints one JSON line. PEER/run.py offers send_all(bodies, url, in_flight, watch) -> replies, which
holds the watch over its send phase, and PROBES, requests it sends beyond the bodies.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import time
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType, TracebackType
from typing import Self

import uvloop

# No telemetry, no download, no reply out of a cache.
QUIET = {
    "TELEMETRY_ENABLED": "false",
    "CURATOR_DISABLE_CACHE": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "HF_HUB_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
}


class Stopwatch:
    """Seconds while it is held, and CPU seconds of this process and of those that ended in it."""

    seconds = 0.0
    cpu_s = 0.0

    def __enter__(self) -> Self:
        self._began, self._cpu_began = time.perf_counter(), cpu_s()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.seconds += time.perf_counter() - self._began
        self.cpu_s += cpu_s() - self._cpu_began


def cpu_s() -> float:
    """CPU seconds so far, of this process and of those that it has waited for."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer")
    parser.add_argument("bodies", type=Path)
    parser.add_argument("--url", required=True)
    parser.add_argument("--in-flight", type=int, required=True)
    options = parser.parse_args()
    with TemporaryDirectory() as home:
        leave_environment(home)
        print(json.dumps(drive(options)))


def leave_environment(home: str) -> None:
    """Inherit nothing: no proxy, no key, no cache folder."""
    path = os.environ["PATH"]
    os.environ.clear()
    os.environ.update(QUIET, PATH=path, HOME=home, TMPDIR=home)


def drive(options: argparse.Namespace) -> dict[str, object]:
    """Time one pass over all bodies, on the event loop that our engine runs on too."""
    uvloop.install()
    rival, watch = load_rival(options.peer), Stopwatch()
    bodies = [json.loads(line) for line in options.bodies.read_bytes().splitlines()]
    replies = rival.send_all(bodies, options.url, options.in_flight, watch)
    return {
        "version": version(options.peer),
        "requests": len(bodies),
        "answered": sum(1 for reply in replies if reply),
        "probes": getattr(rival, "PROBES", 0),
        "seconds": watch.seconds,
        "client_cpu_s": watch.cpu_s,
    }


def load_rival(peer: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "rival", Path(__file__).with_name(peer) / "run.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
