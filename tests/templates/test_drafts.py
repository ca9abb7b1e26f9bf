"""Versions of one's own: begun from others, compared with them, and released."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import pytest

from mergeit_async.errors import UsageError
from mergeit_async.templates.drafts import TITLE, diff_versions, draft_version, lock_version
from mergeit_async.templates.lock import LOCK, write_lock
from mergeit_async.templates.version import load_prompt

PROMPTS = Path(__file__).resolve().parents[2] / "prompts"


def _begin(directory: Path, name: str = "merge/v4", parent: str = "merge/v2") -> Path:
    texts = draft_version(name, parent, directory)
    (directory / name).mkdir(parents=True)
    for file, text in texts.items():
        (directory / name / file).write_text(text, encoding="utf-8")
    return directory / name


def _complaint(*arguments: object) -> str:
    with pytest.raises(UsageError) as caught:
        draft_version(*arguments)  # type: ignore[arg-type]
    return str(caught.value)


@pytest.mark.parametrize("parent", ["merge/v1", "merge/v3"])
def test_a_draft_is_its_parent_but_for_title_why_and_parent(tmp_path: Path, parent: str) -> None:
    folder = _begin(tmp_path, parent=parent)

    ours, theirs = (load_prompt(*name) for name in (("merge/v4", tmp_path), (parent,)))
    assert ours.preamble == theirs.preamble
    assert (ours.parameters, ours.schema) == (theirs.parameters, theirs.schema)
    assert ours.hash != theirs.hash
    said = tomllib.loads((folder / "prompt.toml").read_text("utf-8"))
    assert (said["title"], said["parent"]) == (TITLE, parent)
    assert parent in said["why"]


def test_a_judge_of_pairs_stays_one(tmp_path: Path) -> None:
    _begin(tmp_path, "judge/mine", "judge/v2")

    said = tomllib.loads((tmp_path / "judge/mine/prompt.toml").read_text("utf-8"))
    assert said["judges"] == "pair"
    assert said["parameters"] == {"temperature": 0.0, "max_output_tokens": 16}


def test_a_draft_takes_the_files_of_its_parent_as_they_are_now(tmp_path: Path) -> None:
    """The way out where a locked file was edited."""
    _begin(tmp_path)
    _write(tmp_path / "merge/v4/prompt.toml", 'title = "a"\nwhy = "b"\n')
    (tmp_path / LOCK).write_text(write_lock(lock_version("merge/v4", tmp_path)), encoding="utf-8")
    _write(tmp_path / "merge/v4/system.md", "Merge them all.")

    assert draft_version("merge/v5", "merge/v4", tmp_path)["system.md"] == "Merge them all."


@pytest.mark.parametrize(
    ("name", "parent", "complaint"),
    [
        ("merge/v1", "merge/v2", f"{PROMPTS / 'merge/v1'} is there already"),
        ("merge/mine", "merge/v2", "merge/mine is there already"),
        ("merge", "merge/v2", "'merge' is not a name of the form task/version"),
        ("merge/../../x", "merge/v2", "is not a name of the form task/version"),
        ("merge/v9", "merge/v99", "'merge/v99' does not exist"),
        ("judge/v9", "merge/v2", "merge/v2 is for the task 'merge' and cannot become judge/v9"),
    ],
)
def test_a_draft_that_cannot_be_is_refused(
    tmp_path: Path, name: str, parent: str, complaint: str
) -> None:
    (tmp_path / "merge" / "mine").mkdir(parents=True)

    assert complaint in _complaint(name, parent, tmp_path)


def test_a_name_that_is_taken_is_answered_with_one_that_is_free(tmp_path: Path) -> None:
    _begin(tmp_path, "merge/v7")

    assert "prompts new merge/v8 --from merge/v2" in _complaint("merge/v7", "merge/v2", tmp_path)


# Differences


def test_versions_are_compared_file_by_file() -> None:
    lines = diff_versions("merge/v1", "merge/v3", None)

    assert [line for line in lines if line.startswith("---")] == [
        "--- merge/v1/fewshots.jsonl",
        "--- merge/v1/prompt.toml",
        "--- merge/v1/system.md",
        "--- merge/v1/user.j2",
    ]
    assert "+++ /dev/null" in lines
    assert '+parent = "merge/v1"' in lines
    assert " {% for row in rows %}" in lines


def test_equal_versions_have_no_differences(tmp_path: Path) -> None:
    shutil.copytree(PROMPTS / "merge" / "v1", tmp_path / "merge" / "mine")

    assert diff_versions("merge/v1", "merge/mine", tmp_path) == []


def test_a_version_that_was_changed_since_it_was_locked_can_be_compared(tmp_path: Path) -> None:
    shutil.copytree(PROMPTS / "merge" / "v1", tmp_path / "merge" / "v1")
    _write(tmp_path / "merge/v1/user.j2", "{{ rows }}\n")

    assert "+{{ rows }}" in diff_versions("merge/v2", "merge/v1", tmp_path)


# Releasing


def test_a_version_is_locked_beside_those_that_are(tmp_path: Path) -> None:
    for name in ("merge/one", "merge/two"):
        shutil.copytree(PROMPTS / "merge" / "v1", tmp_path / name)
        (tmp_path / LOCK).write_text(write_lock(lock_version(name, tmp_path)), encoding="utf-8")

    with pytest.raises(UsageError, match=r"merge/one is locked already in .*lock\.toml"):
        lock_version("merge/one", tmp_path)
    assert '["merge/two"]' in (tmp_path / LOCK).read_text("utf-8")


def test_a_version_that_does_not_say_what_it_is_is_not_released(tmp_path: Path) -> None:
    _begin(tmp_path)

    with pytest.raises(UsageError, match=r"prompt\.toml: title: 'TODO.* still has to be written"):
        lock_version("merge/v4", tmp_path)


def test_shipped_versions_are_not_locked_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="merge/v1 is not in "):
        lock_version("merge/v1", tmp_path)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
