from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from mergeit_async.config import IDENTITY, Settings
from mergeit_async.defaults import setting_name
from mergeit_async.engine.tuning import TUNABLE
from mergeit_async.errors import UsageError
from mergeit_async.options import (
    merge_options,
    plan_options,
    setting_values,
    settings_from,
    transport_options,
    tuning_options,
    with_options,
)

SOURCES = {"config", "preset"}


def names(*groups: Any) -> set[str]:
    return {setting_name(name) for group in groups for name in inspect.signature(group).parameters}


def test_every_option_stands_for_a_setting():
    options = names(plan_options, merge_options, transport_options)
    assert options - SOURCES <= set(Settings.model_fields)


def test_the_options_of_resume_never_change_the_result_and_those_of_run_alone_do():
    assert not any(IDENTITY[name] for name in names(transport_options))
    places = {"prompts"}
    assert all(IDENTITY[name] for name in names(plan_options, merge_options) - SOURCES - places)


def test_a_running_job_takes_every_option_of_tune():
    assert names(tuning_options) == TUNABLE


def test_several_servers_are_one_option_given_several_times():
    app = typer.Typer()
    given: list[dict[str, Any]] = []

    @app.command()
    @with_options(transport_options)
    def go(**options: Any) -> None:
        given.append(setting_values(options))

    line = "--base-url http://a/v1,rpm=5 --base-url http://b/v1 --hedge --max-cost 2.5"
    for arguments in (line, ""):
        done = CliRunner().invoke(app, arguments.split())
        assert done.exit_code == 0, done.output

    urls = ["http://a/v1,rpm=5", "http://b/v1"]
    assert given == [{"base_url": urls, "hedge": True, "max_cost": 2.5}, {}]


def test_a_command_gets_the_options_it_shares_and_only_what_was_given_is_set():
    app = typer.Typer()
    given: list[dict[str, Any]] = []

    @app.command()
    @with_options(plan_options, transport_options)
    def go(dataset: Path, **options: Any) -> None:
        given.append({"dataset": dataset} | setting_values(options))

    line = "rows.jsonl --per-cluster all --columns output=response --timeout 2.5 --rpm 7"
    done = CliRunner().invoke(app, line.split())

    assert done.exit_code == 0, done.output
    assert given == [
        {
            "dataset": Path("rows.jsonl"),
            "per_cluster": "all",
            "columns": {"output": "response"},
            "timeout_s": 2.5,
            "rpm": 7,
        }
    ]
    assert CliRunner().invoke(app, ["rows.jsonl", "--model", "m"]).exit_code == 2


def test_a_number_of_rows_is_a_number_and_anything_else_is_refused():
    assert setting_values({"per_cluster": "12", "rpm": None}) == {"per_cluster": 12}
    with pytest.raises(UsageError, match="--per-cluster 'many'"):
        setting_values({"per_cluster": "many"})


def test_settings_come_from_options_config_and_preset(tmp_path):
    config = tmp_path / "run.toml"
    config.write_text('per-cluster = "all"\ntimeout = 9\n[columns]\noutput = "response"\n')
    options = {"config": config, "preset": "paper", "seed": 3, "rpm": None}
    settings = settings_from(Path("rows.jsonl"), options)
    assert settings.dataset == Path("rows.jsonl").absolute()
    assert (settings.per_cluster, settings.timeout_s, settings.seed) == (None, 9.0, 3)
    assert settings.columns == {"output": "response"}
    assert settings.pairing == "first_match"
