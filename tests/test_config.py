from __future__ import annotations

from pathlib import Path

import pytest

from mergeit_async.config import IDENTITY, Settings, build_settings, change
from mergeit_async.errors import UsageError
from mergeit_async.servers import Server

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
        ({"tpm": 0}, "--tpm 0"),
        ({"max_in_flight": 0}, "--max-in-flight 0"),
        ({"max_cost": 0}, "--max-cost 0"),
        ({"max_cost": float("inf")}, "--max-cost inf"),
        ({"price_in": -1, "price_out": 1}, "--price-in -1"),
        ({"price_out": 1}, "give both"),
        ({"base_url": ()}, "names no server"),
        ({"base_url": ("http://h/v1", "http://h/v1,rpm=5")}, "names a server twice"),
        ({"base_url": "http://h/v1,speed=5"}, "speed"),
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


def test_each_server_has_its_own_limits_or_those_of_the_run():
    urls = ("http://a/v1,rpm=60,key-env=A_KEY", "http://b/v1,in-flight=3,tpm=5")
    settings = build_settings(DATASET | {"base_url": urls, "rpm": 600, "max_in_flight": 9})
    assert settings.servers == (
        Server("http://a/v1", "A_KEY", rpm=60, tpm=None, max_in_flight=9),
        Server("http://b/v1", "OPENAI_API_KEY", rpm=600, tpm=5, max_in_flight=3),
    )


def test_several_servers_may_stand_in_a_file(tmp_path):
    config = tmp_path / "run.toml"
    config.write_text('base-url = ["http://a/v1", "http://b/v1"]\n')
    assert build_settings(DATASET, config=config).base_url == ("http://a/v1", "http://b/v1")


def test_a_change_that_would_alter_the_result_is_refused():
    settings = build_settings(DATASET)
    assert change(settings, {"rpm": 5, "hedge": True}).rpm == 5
    with pytest.raises(UsageError, match="--threshold changes the result"):
        change(settings, {"threshold": 0.9})


def test_all_means_no_thinning():
    assert build_settings(DATASET | {"per_cluster": "all"}).per_cluster is None


def test_identity_holds_no_place_key_or_speed():
    identity = build_settings(DATASET | {"rpm": 5, "base_url": "http://h/v1"}).identity()
    assert not {"dataset", "base_url", "rpm", "api_key_env", "timeout_s"} & set(identity)
