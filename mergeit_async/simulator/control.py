"""Changes to a running server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mergeit_async.errors import UsageError
from mergeit_async.simulator.settings import SimulatorSettings, is_number

CHANGEABLE = (
    "rpm",
    "tpm",
    "burst_s",
    "max_concurrent",
    "latency_s",
    "latency_sigma",
    "fault_rate",
    "faults",
)


def change_settings(settings: SimulatorSettings, changes: Mapping[str, Any]) -> SimulatorSettings:
    """The settings with these changes. Raises UsageError for a name or value that is none."""
    for name in changes:
        if name not in CHANGEABLE:
            known = ", ".join([*CHANGEABLE, "down"])
            raise UsageError(f"The simulator cannot change {name!r} while it runs, only {known}.")
    return replace(settings, **changes)


def read_downtime(down: Any) -> float | None:
    """Seconds to be down: 0 for False, None for True (until it is taken back), or a number.

    Raises UsageError for anything else.
    """
    if isinstance(down, bool):
        return None if down else 0.0
    if not (is_number(down) and down > 0):
        raise UsageError(f"Simulator setting down is {down}; give true, false or some seconds.")
    return float(down)
