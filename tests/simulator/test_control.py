from __future__ import annotations

from typing import Any

import pytest

from mergeit_async.errors import UsageError
from mergeit_async.simulator.control import CHANGEABLE, change_settings, read_downtime
from mergeit_async.simulator.settings import SimulatorSettings


def test_changes_are_taken_and_the_rest_stays() -> None:
    before = SimulatorSettings(rpm=60, tpm=600, seed=3)

    assert change_settings(before, {"rpm": None, "latency_s": 0.5}) == SimulatorSettings(
        tpm=600, seed=3, latency_s=0.5
    )


def test_each_setting_that_can_be_changed_is_one() -> None:
    settings = SimulatorSettings()

    assert change_settings(settings, {name: getattr(settings, name) for name in CHANGEABLE})


@pytest.mark.parametrize("name", ["port", "seed", "speed"])
def test_what_cannot_be_changed_is_refused_with_what_can(name: str) -> None:
    with pytest.raises(UsageError, match=f"'{name}'.*rpm, tpm, .*faults, down"):
        change_settings(SimulatorSettings(), {name: 1})


def test_a_value_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(UsageError, match="rpm is many; give a number"):
        change_settings(SimulatorSettings(), {"rpm": "many"})


@pytest.mark.parametrize(("down", "seconds"), [(True, None), (False, 0.0), (3, 3.0), (0.5, 0.5)])
def test_a_downtime_is_for_ever_over_or_so_many_seconds(down: Any, seconds: float | None) -> None:
    assert read_downtime(down) == seconds


@pytest.mark.parametrize("down", [None, "yes", -1, 0])
def test_any_other_downtime_is_refused(down: Any) -> None:
    with pytest.raises(UsageError, match="give true, false or some seconds"):
        read_downtime(down)
