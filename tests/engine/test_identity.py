from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mergeit_async.config import Settings, build_settings
from mergeit_async.engine.identity import ALGORITHMS, Identity, identify
from mergeit_async.engine.prompts import find_prompts
from mergeit_async.templates.repair import load_repair
from mergeit_async.templates.version import load_prompt

# For each setting another value than the default.
OTHER: dict[str, Any] = {
    "dataset": Path("elsewhere.jsonl"),
    "columns": {"output": "response"},
    "limit": 10,
    "embedder": "minilm",
    "topics": 3,
    "per_cluster": "all",
    "target_rows": 100,
    "clustering": "kmeans",
    "selection": "cosine",
    "pairing": "first_match",
    "threshold": 0.7,
    "max_group_size": 3,
    "seed": 1,
    "model": "m",
    "prompt": "merge/v2",
    "prompts": Path("mine"),
    "endpoint": "other",
    "temperature": 0.0,
    "max_output_tokens": 100,
    "max_attempts": 1,
    "structured_output": "text",
    "min_information": 0.1,
    "repair": "none",
    "judge": "j",
    "judge_prompt": "judge/v2",
    "base_url": "http://127.0.0.1:9/v1",
    "api_key_env": "MY_KEY",
    "rpm": 5,
    "tpm": 5000,
    "max_in_flight": 2,
    "timeout_s": 5.0,
    "max_tries": 2,
    "hedge": True,
    "allow_plain_http": True,
    "allow_network_fs": True,
    "reuse": Path("other_run"),
    "max_cost": 1.0,
    "price_in": 1.0,
    "price_out": 1.0,
    "judge_price_in": 1.0,
    "judge_price_out": 1.0,
}
# Places, whose contents are hashed instead, and what only changes the speed.
SAME_RESULT = {"dataset", "prompts", "base_url", "api_key_env", "rpm", "tpm", "max_in_flight"}
SAME_RESULT |= {"timeout_s", "max_tries", "hedge", "allow_plain_http", "allow_network_fs", "reuse"}
SAME_RESULT |= {"max_cost", "price_in", "price_out", "judge_price_in", "judge_price_out"}
JUDGED = {"model": "m", "judge": "j"}
# Settings that are only allowed together.
BESIDE: dict[str, dict[str, Any]] = {
    "price_in": {"price_out": 1.0},
    "price_out": {"price_in": 1.0},
    "judge": {"model": "m"},
    "judge_prompt": JUDGED,
    "judge_price_in": JUDGED | {"judge_price_out": 1.0},
    "judge_price_out": JUDGED | {"judge_price_in": 1.0},
}


def of(**flags: Any) -> Identity:
    return identify(build_settings({"dataset": Path("rows.jsonl")} | flags), "dataset", None)


def test_each_setting_has_another_value_here():
    assert set(OTHER) == set(Settings.model_fields)


@pytest.mark.parametrize("name", OTHER)
def test_the_fingerprint_changes_with_exactly_the_settings_that_change_the_result(name):
    beside = BESIDE.get(name, {})
    changed = of(**{name: OTHER[name]} | beside)
    before = of(**{each: value for each, value in beside.items() if each in JUDGED})
    assert (changed.fingerprint == before.fingerprint) is (name in SAME_RESULT)


def test_a_default_that_is_spelt_out_is_no_change():
    assert of(threshold=0.6, per_cluster=75) == of()


NOW = Identity(
    "rows", {"seed": 1, "prompt": "merge/v1"}, {"merge/v1": "p"}, "v", {"gate": "gate/1"}
)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({}, None),
        ({"dataset": "other"}, "the dataset"),
        ({"prompts": {"merge/v1": "other"}}, "the prompt merge/v1"),
        ({"vectors": "other"}, "the file of precomputed vectors"),
        ({"settings": {"seed": 2, "prompt": "merge/v1"}}, "the setting seed (1, now 2)"),
        ({"settings": {"prompt": "merge/v1"}}, "the setting seed (1, now None)"),
        ({"algorithms": {"gate": "gate/2"}}, "the version of gate (gate/1, now gate/2)"),
    ],
)
def test_what_has_changed_is_named_and_changes_the_fingerprint(changes, named):
    later = replace(NOW, **changes)
    assert NOW.difference(later) == named
    assert (NOW.fingerprint == later.fingerprint) is (named is None)


def test_precomputed_vectors_count_by_content_and_not_by_place(tmp_path):
    for name, content in (("a", b"vectors"), ("moved", b"vectors"), ("changed", b"others")):
        (tmp_path / f"{name}.npy").write_bytes(content)
    here = of(embedder=str(tmp_path / "a.npy"))
    assert of(embedder=str(tmp_path / "moved.npy")) == here
    changed = of(embedder=str(tmp_path / "changed.npy"))
    assert here.difference(changed) == "the file of precomputed vectors"


def test_a_run_is_of_the_prompt_it_asks_with_and_of_none_without_a_model():
    settings = build_settings({"dataset": Path("rows.jsonl"), "model": "m"})
    prompts = identify(settings, "dataset", find_prompts(settings)).prompts
    assert prompts == {
        "merge/v1": load_prompt("merge/v1").hash,
        "repair/v1": load_repair("repair/v1").hash,
    }
    judged = settings.model_copy(update={"judge": "j", "repair": "none"})
    assert find_prompts(judged).hashes.keys() == {"merge/v1", "judge/v1"}
    assert find_prompts(build_settings({"dataset": Path("rows.jsonl")})) is None
    assert of().prompts == {}


def test_the_versions_of_all_algorithms_are_part_of_a_run():
    assert of().algorithms == dict(ALGORITHMS)
    assert all(name in version for name, version in ALGORITHMS.items())
