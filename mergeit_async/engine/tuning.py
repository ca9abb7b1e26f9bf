"""Changing a running job: a small file in its directory that the job looks at every second."""

from __future__ import annotations

import tomllib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import tomli_w

from mergeit_async.config import Settings, change, option_name
from mergeit_async.data.atomic import write_atomically
from mergeit_async.engine.lanes import allow_connections, find_prices
from mergeit_async.engine.run_dir import RunDir
from mergeit_async.engine.status import state_of
from mergeit_async.errors import UsageError
from mergeit_async.servers import parse_server

LOOK_EVERY_S = 1.0
TUNABLE = frozenset({"rpm", "tpm", "max_in_flight", "max_cost", "timeout_s"})


def write_tuning(path: Path, changes: Mapping[str, Any]) -> None:
    """Add `changes`, settings by name, to what is asked for already."""
    try:
        with write_atomically(path) as file:
            tomli_w.dump(read_tuning(path) | dict(changes), file)
    except OSError as error:
        raise UsageError(f"Cannot write {path}: {error.strerror}.") from None


def read_tuning(path: Path) -> dict[str, Any]:
    """What is asked for; empty where nothing is."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be used ({error}); remove it and tune again.") from None


def request_tuning(run: RunDir, changes: Mapping[str, Any]) -> str:
    """Ask the process that works on `run` for other limits; returns what will happen.

    Raises `UsageError` where nobody works on it, and for values that will not do.
    """
    record = run.read_record()
    if not changes:
        options = ", ".join(sorted(map(option_name, TUNABLE)))
        raise UsageError(f"Nothing to change; give one or more of {options}.")
    refuse_others(changes)
    refuse_overridden(record.settings, changes)
    settings = change(record.settings, changes)
    if settings.max_cost is not None:
        find_prices(settings, record.prices)
    if "max_in_flight" in changes:
        # As a rule, the job may open as many files as this process.
        allow_connections(settings)
    if state_of(run) != "running":
        raise UsageError(
            f"No process is working on {run.path}; give these options to resume instead."
        )
    write_tuning(run.tuning, changes)
    asked = ", ".join(f"{option_name(name)} {value}" for name, value in changes.items())
    return f"The job goes on with {asked} within a second."


def refuse_overridden(settings: Settings, changes: Mapping[str, Any]) -> None:
    """Raise `UsageError` where a change would change nothing."""
    if settings.is_offline:
        raise UsageError(f"{settings.model} asks no server, so there is nothing to tune.")
    for text in settings.base_url:
        server = parse_server(text)
        for name in changes:
            if getattr(server, name, None) is not None:
                raise UsageError(
                    f"{server.url} has its own {name.replace('_', '-')}, which tune does not "
                    "change; stop the run and give `resume` another --base-url."
                )


@asynccontextmanager
async def following_tuning(
    path: Path, apply: Callable[[dict[str, Any]], None]
) -> AsyncIterator[None]:
    """Look at `path` while the block runs, as `watch_tuning` does."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch_tuning, path, apply)
        try:
            yield
        finally:
            tasks.cancel_scope.cancel()


async def watch_tuning(path: Path, apply: Callable[[dict[str, Any]], None]) -> None:
    """Call `apply` whenever other settings are asked for; runs until cancelled.

    What cannot be used changes nothing.
    """
    known: dict[str, Any] = {}
    while True:
        # Whoever writes the file by hand may err, and hours of work must not end for that.
        with suppress(UsageError):
            wanted = read_tuning(path)
            if wanted != known:
                known = wanted
                refuse_others(wanted)
                apply(wanted)
        await anyio.sleep(LOOK_EVERY_S)


def refuse_others(changes: Mapping[str, Any]) -> None:
    """Raise `UsageError` for a setting that no running job takes."""
    if others := sorted(changes.keys() - TUNABLE):
        raise UsageError(
            f"{option_name(others[0])} cannot be changed while a job runs; stop it, and give it to "
            "resume."
        )
