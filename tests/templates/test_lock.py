"""Released versions stay as they are, and every path stays inside the directory."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import pytest

from mergeit_async.errors import UsageError
from mergeit_async.ids import digest
from mergeit_async.templates import folder
from mergeit_async.templates.drafts import find_lost, lock_version
from mergeit_async.templates.folder import find_state, read_prompt_files, shipped
from mergeit_async.templates.lock import LOCK, find_change, lock_texts, read_lock, write_lock
from mergeit_async.templates.version import list_prompts, load_prompt

PROMPTS = Path(__file__).resolve().parents[2] / "prompts"
TEXTS = {"prompt.toml": "a", "user.j2": "b"}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A user's directory with merge/mine, a copy of merge/v1 with a reason of its own."""
    shutil.copytree(PROMPTS / "merge" / "v1", tmp_path / "merge" / "mine")
    return tmp_path


@pytest.fixture
def locked(own: Path) -> Path:
    """The same, with merge/mine released."""
    (own / LOCK).write_text(write_lock(lock_version("merge/mine", own)), encoding="utf-8")
    return own


def _complaint(directory: Path | None, name: str = "merge/mine") -> str:
    with pytest.raises(UsageError) as caught:
        load_prompt(name, directory)
    return str(caught.value)


def test_every_shipped_version_is_locked_with_the_hash_that_runs_name() -> None:
    states = {each.name: each.state for each in list_prompts()}

    assert set(states.values()) == {"locked"}
    assert read_lock(PROMPTS).keys() == states.keys()
    assert read_lock(PROMPTS)["merge/v2"].hash == load_prompt("merge/v2").hash


def test_a_lock_is_read_as_it_was_written(tmp_path: Path) -> None:
    lock = {"merge/v2": lock_texts(TEXTS), "judge/v1": lock_texts({"user.j2": "c"})}
    (tmp_path / LOCK).write_text(write_lock(lock), encoding="utf-8")

    assert read_lock(tmp_path) == lock
    assert tomllib.loads(write_lock(lock))["merge/v2"]["files"]["user.j2"] == digest("b")
    assert read_lock(tmp_path / "nowhere") == {}


def test_a_change_is_told_by_its_file_and_both_hashes() -> None:
    lock = lock_texts(TEXTS)

    assert find_change(TEXTS, lock) is None
    assert find_change({**TEXTS, "user.j2": "x"}, lock) == ("user.j2", digest("b"), digest("x"))
    assert find_change({"prompt.toml": "a"}, lock) == ("user.j2", digest("b"), "absent")
    assert find_change({**TEXTS, "z": "x"}, lock) == ("z", "absent", digest("x"))
    damaged = lock.model_copy(update={"hash": "0"})
    assert find_change(TEXTS, damaged) == (LOCK, "0", lock.hash)


@pytest.mark.parametrize(
    "file", ["prompt.toml", "system.md", "user.j2", "fewshots.jsonl", "schema.json"]
)
def test_a_locked_file_that_was_edited_is_named_with_what_to_do(locked: Path, file: str) -> None:
    path = locked / "merge" / "mine" / file
    before = digest(path.read_text("utf-8"))
    path.write_text(path.read_text("utf-8") + "\n", encoding="utf-8")

    complaint = _complaint(locked)

    assert complaint.startswith(f"{path} was changed, and merge/mine is locked in {locked / LOCK}")
    assert f"the hash of {file} is {digest(path.read_text('utf-8'))}, and was {before}" in complaint
    assert f"prompts new merge/v4 --from merge/mine --prompts {locked}`" in complaint
    assert {each.name: each.state for each in list_prompts(locked)}["merge/mine"] == "changed"


def test_a_locked_version_that_is_as_it_was_and_a_draft_can_be_used(locked: Path) -> None:
    assert load_prompt("merge/mine", locked).hash == load_prompt("merge/v1").hash

    shutil.copytree(locked / "merge" / "mine", locked / "merge" / "other")
    (locked / "merge" / "other" / "system.md").write_text("Merge.", encoding="utf-8")
    assert load_prompt("merge/other", locked).preamble[0].content == "Merge."
    assert find_state(read_prompt_files("merge/other", locked), locked) == "draft"


def test_a_draft_among_the_shipped_versions_is_only_used_as_the_users_own(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "shipped", lambda: own)

    assert f"{own}/merge/mine is a draft among the shipped versions" in _complaint(None)
    assert load_prompt("merge/mine", own).name == "merge/mine"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[merge", "is damaged: "),
        ('["merge/mine"]\nhash = "a"\n', "merge/mine.files: "),
        ('["merge/mine"]\nhash = 1\nfiles = {}\n', "merge/mine.hash: "),
        ("\udcff", "is damaged: "),
    ],
)
def test_a_damaged_lock_is_no_lock_to_rely_on(own: Path, text: str, complaint: str) -> None:
    (own / LOCK).write_bytes(text.encode(errors="surrogateescape"))

    assert f"{own / LOCK}" in (said := _complaint(own))
    assert complaint in said
    assert "restore the file" in said


def test_a_locked_version_that_is_gone_is_noticed(locked: Path) -> None:
    assert find_lost(locked) == []

    shutil.rmtree(locked / "merge" / "mine")
    (problem,) = find_lost(locked)
    assert f"{locked / LOCK} has merge/mine, and {locked / 'merge/mine'} is gone" in problem


# Paths


def test_a_link_out_of_the_directory_is_refused(own: Path, tmp_path_factory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "secret.md"
    outside.write_text("Tell everything.", encoding="utf-8")
    system = own / "merge" / "mine" / "system.md"
    system.unlink()
    system.symlink_to(outside)

    assert f"{system} leads out of the prompt directory {own}, to {outside}" in _complaint(own)


def test_a_folder_that_is_a_link_out_of_the_directory_is_refused(own: Path) -> None:
    (own / "merge" / "linked").symlink_to(PROMPTS / "merge" / "v1")

    assert "merge/linked/prompt.toml leads out of" in _complaint(own, "merge/linked")


def test_links_within_the_directory_and_to_it_are_followed(own: Path, tmp_path_factory) -> None:
    shutil.copytree(own / "merge" / "mine", own / "merge" / "other")
    (own / "merge" / "other" / "user.j2").unlink()
    (own / "merge" / "other" / "user.j2").symlink_to("../mine/user.j2")
    link = tmp_path_factory.mktemp("links") / "prompts"
    link.symlink_to(own)

    assert load_prompt("merge/other", link).hash == load_prompt("merge/v1").hash


@pytest.mark.parametrize("target", ["nowhere", "system.md"])
def test_a_link_to_nothing_or_to_itself_is_named(own: Path, target: str) -> None:
    system = own / "merge" / "mine" / "system.md"
    system.unlink()
    system.symlink_to(target)

    assert f"{system} " in _complaint(own)


def test_a_folder_without_prompt_toml_is_no_version(own: Path) -> None:
    (own / "merge" / "empty").mkdir()

    complaint = _complaint(own, "merge/empty")

    assert f"{own / 'merge/empty/prompt.toml'} is missing" in complaint
    assert "prompts new NAME --from merge/v1" in complaint
    assert {each.name: each.state for each in list_prompts(own)}["merge/empty"] == "damaged"


def test_other_folders_are_no_versions(own: Path) -> None:
    (own / "src" / "lib").mkdir(parents=True)

    assert "src/lib" not in {each.name for each in list_prompts(own)}


# Parents


@pytest.mark.parametrize(
    ("parent", "complaint"),
    [
        ("merge/v77", "parent: there is no version 'merge/v77'; name one of "),
        ("merge/mine", "parent: merge/mine is the version itself"),
    ],
)
def test_a_parent_that_is_none_is_named(own: Path, parent: str, complaint: str) -> None:
    path = own / "merge" / "mine" / "prompt.toml"
    path.write_text(f'parent = "{parent}"\n' + path.read_text("utf-8"), encoding="utf-8")

    assert f"{path}: {complaint}" in _complaint(own)


@pytest.mark.parametrize("parent", ["merge/v1", "merge/other"])
def test_a_parent_may_be_shipped_or_the_users_own(own: Path, parent: str) -> None:
    shutil.copytree(own / "merge" / "mine", own / "merge" / "other")
    path = own / "merge" / "mine" / "prompt.toml"
    path.write_text(f'parent = "{parent}"\n' + path.read_text("utf-8"), encoding="utf-8")

    assert load_prompt("merge/mine", own).name == "merge/mine"


def test_the_shipped_prompts_are_found() -> None:
    assert shipped() == PROMPTS
