"""New versions: what the files of a draft say, and when it may be locked."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import unified_diff
from pathlib import Path

import tomli_w

from mergeit_async.errors import UsageError
from mergeit_async.templates.folder import (
    COMMAND,
    PromptFiles,
    check_name,
    find_prompt_files,
    list_names,
    read_prompt_files,
    roots_of,
    suggest_next,
)
from mergeit_async.templates.lock import LOCK, Lock, lock_texts, read_lock
from mergeit_async.templates.manifest import MANIFEST, task_of

TITLE = "TODO: in a few words, what this version does"
WHY = "TODO: what is different from {parent}, and why it should be better"
_PLACEHOLDER = "TODO: "


def draft_version(name: str, parent: str, directory: Path) -> Mapping[str, str]:
    """The files of a new version `name` in `directory`: those of `parent` as they lie on disk.

    Raises UsageError for a name that is none or is taken, and for a parent that cannot be read or
    is for another task.
    """
    check_name(name)
    known = directory if directory.is_dir() else None
    _check_free(name, parent, directory, known)
    files = find_prompt_files(parent, known)
    if task_of(name) != task_of(parent):
        raise UsageError(
            f"{parent} is for the task {task_of(parent)!r} and cannot become {name}; name it like "
            f"{suggest_next(parent, known)}."
        )
    return {**files.texts, MANIFEST: _write_manifest(files)}


def diff_versions(one: str, other: str, directory: Path | None) -> list[str]:
    """The lines of a unified diff from version `one` to `other`, file by file; none if equal.

    Versions are taken as they lie on disk, so also one that was changed since it was locked.
    Raises UsageError for a version that cannot be read.
    """
    before, after = (find_prompt_files(name, directory) for name in (one, other))
    lines: list[str] = []
    for file in sorted(before.texts.keys() | after.texts.keys()):
        names = [
            f"{each.name}/{file}" if file in each.texts else "/dev/null" for each in (before, after)
        ]
        old, new = (each.texts.get(file, "").splitlines() for each in (before, after))
        lines += unified_diff(old, new, names[0], names[1], lineterm="")
    return lines


def lock_version(name: str, directory: Path) -> Lock:
    """The lock of `directory` with the version `name`, which lies there, as released.

    Raises UsageError for a version that is not there, is locked already or is damaged, and for one
    that does not say yet what it is.
    """
    files = read_prompt_files(name, directory)
    if files.root != directory:
        raise UsageError(f"{name} is not in {directory}; it ships with the package and is locked.")
    lock = read_lock(directory)
    if name in lock:
        raise UsageError(f"{name} is locked already in {directory / LOCK}; there is nothing to do.")
    for key, said in (("title", files.manifest.title), ("why", files.manifest.why)):
        if said.startswith(_PLACEHOLDER):
            raise UsageError(f"{files.folder / MANIFEST}: {key}: {said!r} still has to be written.")
    return {**lock, name: lock_texts(files.texts)}


def find_lost(directory: Path | None) -> list[str]:
    """What is wrong with the locks themselves: released versions that are gone."""
    names = list_names(directory)
    return [
        f"{root / LOCK} has {name}, and {root / name} is gone; restore it, or take the version "
        "out of the lock."
        for root in roots_of(directory)
        for name in read_lock(root)
        if name not in names
    ]


def _check_free(name: str, parent: str, directory: Path, known: Path | None) -> None:
    taken = [root / name for root in (directory, *roots_of(known)) if (root / name).exists()]
    if taken:
        raise UsageError(
            f"{taken[0]} is there already, and no version is overwritten; try `{COMMAND} new "
            f"{suggest_next(name, known)} --from {parent} --prompts {directory}`."
        )


def _write_manifest(parent: PromptFiles) -> str:
    """The parent's prompt.toml, with a title and a reason to be written."""
    said = parent.manifest.model_dump(by_alias=True, exclude_unset=True)
    said |= {"title": TITLE, "parent": parent.name, "why": WHY.format(parent=parent.name)}
    tables = ("files", "parameters")
    head = {key: said[key] for key in ("title", "parent", "why", "judges") if key in said}
    return tomli_w.dumps(head | {key: said[key] for key in tables if key in said})
