from __future__ import annotations

from pathlib import Path

import pytest

from mergeit_async.config import IDENTITY, Settings, build_settings
from mergeit_async.errors import UsageError

DATASET = {"dataset": Path("rows.jsonl")}


def test_every_setting_says_whether_it_changes_the_result():
    assert set(IDENTITY) == set(Settings.model_fields)


def test_flags_beat_the_file_and_the_file_beats_environment_and_preset(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://environment/v1")
    config = tmp_path / "run.toml"
    config.write_text('base-url = "http://file/v1"\nmax-attempts = 7\nseed = 1\n')

    settings = build_settings(DATASET | {"seed": 2}, config=config, preset="paper")

    assert settings.base_url == ("http://file/v1",)
    assert settings.max_attempts == 7
    assert settings.seed == 2
    assert settings.pairing == "first_match"


def test_the_environment_is_used_where_nothing_else_is_said(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://environment/v1")
    assert build_settings(DATASET).base_url == ("http://environment/v1",)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"threshold": 1.7}, "--threshold 1.7"),
        ({"per_cluster": 0}, "--per-cluster 0"),
        ({"rpm": -5}, "--rpm -5"),
        ({"timeout_s": 0}, "--timeout 0"),
        ({"max_group_size": 1}, "--max-group-size 1"),
        ({"model": "offline/gpt"}, "offline/gpt"),
        ({"colour": "red"}, "colour"),
        ({"pairing": "random"}, "--pairing 'random'"),
    ],
)
def test_a_value_that_will_not_do_is_named(flags, named):
    with pytest.raises(UsageError, match=named):
        build_settings(DATASET | flags)


@pytest.mark.parametrize("content", ["seed = ", "\xff\xfe".encode("latin-1").decode("latin-1")])
def test_a_config_file_that_is_no_toml_is_named(tmp_path, content):
    config = tmp_path / "broken.toml"
    config.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=r"broken\.toml"):
        build_settings(DATASET, config=config)


def test_all_means_no_thinning():
    assert build_settings(DATASET | {"per_cluster": "all"}).per_cluster is None


def test_identity_holds_no_place_key_or_speed():
    identity = build_settings(DATASET | {"rpm": 5, "base_url": "http://h/v1"}).identity()
    assert not {"dataset", "base_url", "rpm", "api_key_env", "timeout_s"} & set(identity)
