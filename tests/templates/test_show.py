"""Prompt versions of every kind, as they are sent."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mergeit_async.errors import UsageError
from mergeit_async.records import Example
from mergeit_async.templates.judge import load_judge, load_pair_judge
from mergeit_async.templates.repair import load_repair
from mergeit_async.templates.show import Material, check_prompt, render_turns
from mergeit_async.templates.version import list_prompts, load_prompt

PROMPTS = Path(__file__).resolve().parents[2] / "prompts"
ONE, OTHER = Example("Add.", "1 2", "3"), Example("Name a colour.", "", "Blue.")
MERGED, POORER = Example("Add, and name a colour.", "1 2", "3 Blue."), Example("Add.", "1 2", "3.")
MATERIAL = Material((ONE, OTHER), MERGED, POORER, ("the number 3",))


@pytest.mark.parametrize("name", ["merge/v1", "merge/v2", "merge/v3"])
def test_a_merge_is_shown_as_a_run_sends_it(name: str) -> None:
    *preamble, turn = render_turns(name, None, MATERIAL)

    assert tuple(preamble) == load_prompt(name).preamble
    assert turn == ("user", load_prompt(name).ask((ONE, OTHER)))


def test_judges_and_repairs_are_shown_with_what_they_are_asked_about() -> None:
    score, pair, repair = (
        render_turns(name, None, MATERIAL) for name in ("judge/v1", "judge/v2", "repair/v1")
    )

    assert score[-1].content == load_judge().ask(ONE)
    assert pair[-1].content == load_pair_judge().ask((ONE, OTHER), MERGED, POORER)
    assert repair[0].content == load_repair().ask((ONE, OTHER), ("the number 3",), "")
    assert [len(turns) for turns in (score, pair, repair)] == [2, 2, 1]


def test_every_version_that_is_listed_can_be_shown_with_sample_rows() -> None:
    for each in list_prompts():
        assert render_turns(each.name)[-1].role == "user"


@pytest.mark.parametrize("name", ["merge/v2", "judge/v1", "judge/v2", "repair/v1"])
def test_a_damaged_version_is_neither_shown_nor_passed(tmp_path: Path, name: str) -> None:
    mine = f"{name.partition('/')[0]}/mine"
    shutil.copytree(PROMPTS / name, tmp_path / mine)
    check_prompt(mine, tmp_path)

    (tmp_path / mine / "user.j2").write_text("{{ colour }}", encoding="utf-8")
    with pytest.raises(UsageError, match="'colour' is undefined"):
        check_prompt(mine, tmp_path)
