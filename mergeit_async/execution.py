"""Running a job in a terminal: its display, its signals, and how its process ends."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NoReturn, Protocol, TypeVar

import anyio
from rich.console import Console

from mergeit_async.engine.progress import Progress
from mergeit_async.engine.run_dir import RunDir
from mergeit_async.errors import MergeItError, StoppedError
from mergeit_async.viewer.progress import show_progress
from mergeit_async.viewer.tables import resume_command

# How long a drain may take after SIGTERM; Kubernetes and systemd kill after 30 s and more.
DRAIN_S = 25.0

Found = TypeVar("Found")


class Work(Protocol):
    """A job with a directory, that can be watched and drained."""

    run_dir: RunDir
    progress: Progress

    @property
    def is_draining(self) -> bool:
        """Whether it has been told to."""

    def drain(self) -> None:
        """Start nothing more; what is in flight is finished."""


def complete(job: Work, start: Callable[[], Awaitable[Found]]) -> Found:
    """What `start` returns in the end, beside a display; ends the process where it stops early."""
    console = Console(stderr=True)
    try:
        return anyio.run(work, job, console, start, backend_options={"use_uvloop": has_uvloop()})
    except StoppedError as error:
        leave_stopped(job, str(error), error.resume_with)


async def work(job: Work, console: Console, start: Callable[[], Awaitable[Found]]) -> Found:
    """Run `start` beside the display of `job` and the watch for signals."""
    found: list[Found] = []
    failed: list[MergeItError] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(show_progress, job.progress, console)
        tasks.start_soon(watch_signals, job, console)
        try:
            found.append(await start())
        except MergeItError as error:  # raised below: a task group would wrap it
            failed.append(error)
        tasks.cancel_scope.cancel()
    if failed:
        raise failed[0]
    return found[0]


async def watch_signals(job: Work, console: Console) -> None:
    """The first SIGINT or SIGTERM drains the job, the second ends the process at once.

    Who sends SIGTERM mostly sends SIGKILL a little later: the process ends by itself before that.
    """
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as tasks:
            async for number in signals:
                if job.is_draining:
                    leave_at_once(job, console, "on request")
                job.drain()
                console.print("Finishing what is in flight; once more to stop at once.")
                if number == signal.SIGTERM:
                    tasks.start_soon(leave_later, job, console)


async def leave_later(job: Work, console: Console) -> None:
    """End the process if draining takes too long."""
    await anyio.sleep(DRAIN_S)
    leave_at_once(job, console, f"after {DRAIN_S:g} s")


def leave_at_once(job: Work, console: Console, why: str) -> NoReturn:
    """End the process whatever is under way; the journal knows which calls that were."""
    console.show_cursor()
    leave_stopped(job, f"Stopped at once, {why}; calls in flight may have been billed")


def leave_stopped(job: Work, why: str, resume_with: str = "") -> NoReturn:
    """End the process with code 3; the last line on stderr is the command to go on with."""
    command = f"{resume_command(job.run_dir)} {resume_with}".rstrip()
    sys.stderr.write(f"{sentence(why)}\n{command}\n")
    leave(StoppedError.exit_code)


def leave(code: int) -> NoReturn:
    """End now: a planner's thread may be deep in a computation that nobody waits for."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def sentence(text: str) -> str:
    """`text` with a full stop."""
    return text.rstrip(".") + "."


def has_uvloop() -> bool:
    """Whether the faster event loop is installed."""
    with suppress(ImportError):
        import uvloop  # noqa: F401

        return True
    return False
