"""Prompt versions of every task, shown to people."""

from __future__ import annotations

from pathlib import Path

import pytest

from mergeit_async.errors import UsageError
from mergeit_async.templates.judge import load_judge
from mergeit_async.templates.show import describe_turns
from mergeit_async.templates.version import list_prompts, load_prompt

PROMPTS = Path(__file__).resolve().parents[2] / "prompts"


def test_a_merge_and_a_judge_show_what_they_send_before_their_rows() -> None:
    assert describe_turns("merge/v1")[1] == load_prompt("merge/v1").preamble
    assert describe_turns("judge/v1")[1] == load_judge().preamble


def test_a_repair_shows_its_template() -> None:
    _, (turn,) = describe_turns("repair/v1")

    assert turn.role == "user"
    assert turn.content + "\n" == (PROMPTS / "repair/v1/user.j2").read_text("utf-8")


def test_every_version_that_is_listed_can_be_shown() -> None:
    assert [describe_turns(each.name)[0] for each in list_prompts()] == list_prompts()


def test_a_damaged_version_is_not_shown(tmp_path: Path) -> None:
    folder = tmp_path / "repair" / "mine"
    folder.mkdir(parents=True)
    (folder / "prompt.toml").write_text('title = "a"\nwhy = "b"\n')
    (folder / "user.j2").write_text("{{ colour }}")

    with pytest.raises(UsageError, match="'colour' is undefined"):
        describe_turns("repair/mine", tmp_path)
