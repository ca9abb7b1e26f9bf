"""The folder of a prompt version: where it is found, what its files hold, and their hash.

prompts/lock.toml                       hashes of the released versions, see `lock`
prompts/<task>/<version>/prompt.toml    title, why, parent, names of the files, parameters
                         system.md      the system message, sent as it stands
                         user.j2        the user turn, rendered from the rows
                         fewshots.jsonl solved examples, one a line; may be empty or missing
                         schema.json    JSON schema of the reply

The kind says which of them there are: `repair` has prompt.toml and user.j2 alone, as it goes on
with the conversation of a merge; `judge` has a system message too, and a schema where it compares
pairs; any other task has all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from mergeit_async.errors import UsageError
from mergeit_async.templates.lock import LOCK, Change, find_change, hash_texts, read_lock
from mergeit_async.templates.manifest import (
    MANIFEST,
    PART,
    TASKS,
    Manifest,
    kind_of,
    list_files,
    parse_manifest,
    task_of,
)

COMMAND = "python -m mergeit_async prompts"
LOCKED, DRAFT, CHANGED, DAMAGED = "locked", "draft", "changed", "damaged"
_NAME = re.compile(f"{PART}/{PART}")
_NUMBERED = re.compile(r"v([0-9]{1,9})")


@dataclass(frozen=True, slots=True)
class PromptFiles:
    """One version as it lies on disk: its manifest and the text of each file by file name.

    `root` is the directory of prompts that it was found in.
    """

    name: str
    root: Path
    manifest: Manifest
    texts: Mapping[str, str]

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return self.root / self.name

    @property
    def kind(self) -> str:
        """What it is for: merge, repair, judge or pair."""
        return kind_of(self.name, self.manifest)

    @property
    def hash(self) -> str:
        """The identity of the version: names and bytes of all its files, prompt.toml included.

        Other files in the folder (notes) do not count.
        """
        return hash_texts(self.texts)

    def read(self, file: str) -> str:
        """The text of `file` without its last line break; raises UsageError if it is empty."""
        text = self.texts[file].rstrip("\r\n")
        if not text.strip():
            raise UsageError(f"{self.folder / file} is empty; write the prompt's text into it.")
        return text


def read_prompt_files(name: str, directory: Path | None, task: str | None = None) -> PromptFiles:
    """Read the version `name`, such as "merge/v1", which has to be for `task` if that is given.

    Raises UsageError for a name that is none, is unknown or is for another task, for files that
    are missing, not UTF-8, or not valid TOML, for what the task has no use for, a parent that does
    not exist, a path that leads out of the directory, and a file that is not as it was locked.
    """
    files = find_prompt_files(name, directory, task)
    _check_lock(files, directory)
    _check_parent(files, directory)
    return files


def find_prompt_files(name: str, directory: Path | None, task: str | None = None) -> PromptFiles:
    """As `read_prompt_files`, but whatever the lock and the parent are."""
    root = _find_root(name, directory, task)
    folder = root / name
    if not (folder / MANIFEST).exists():
        raise UsageError(
            f"{folder / MANIFEST} is missing, and without it {folder} is no version; remove that "
            f"folder, or begin with `{COMMAND} new NAME --from merge/v1`."
        )
    toml = _read_text(folder / MANIFEST, root)
    manifest = parse_manifest(toml, name, folder / MANIFEST)
    texts = {MANIFEST: toml}
    for file, is_needed in list_files(name, manifest).items():
        if is_needed or (folder / file).exists():
            texts[file] = _read_text(folder / file, root)
    return PromptFiles(name, root, manifest, texts)


def list_names(directory: Path | None) -> list[str]:
    """The names of all versions, the user's and the shipped ones, v2 before v10.

    In a task that we know each folder is one, in others each that holds a prompt.toml.
    """
    folders = (path for root in roots_of(directory) for path in root.glob("*/*") if path.is_dir())
    names = {
        f"{path.parent.name}/{path.name}"
        for path in folders
        if path.parent.name in TASKS or (path / MANIFEST).exists()
    }
    return sorted(filter(_NAME.fullmatch, names), key=_natural)


def find_state(files: PromptFiles, directory: Path | None) -> str:
    """Whether a version is LOCKED, a DRAFT, or CHANGED since it was locked."""
    if _find_locked_change(files, directory):
        return CHANGED
    is_locked = any(files.name in read_lock(root) for root in roots_of(directory))
    return LOCKED if is_locked else DRAFT


def roots_of(directory: Path | None) -> list[Path]:
    """Where versions are looked for, first match wins: the user's folder, then the shipped one."""
    if directory is None:
        return [shipped()]
    if not directory.is_dir():
        raise UsageError(f"the prompt directory {directory} does not exist; create it or omit it.")
    return [directory, shipped()]


def shipped() -> Path:
    """The prompts inside an installed package, else those at the top of the repository."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "prompts"
    return inside if inside.is_dir() else package.parent / "prompts"


def check_name(name: str) -> None:
    """Raise UsageError for what is not of the form task/version."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"prompt {name!r} is not a name of the form task/version; write it like merge/v2, of "
            "letters, digits, dots, dashes and underscores."
        )


def suggest_next(name: str, directory: Path | None) -> str:
    """A name for the version after `name` that is not taken."""
    task = name.partition("/")[0]
    names = (each.partition("/") for each in list_names(directory))
    numbered = (_NUMBERED.fullmatch(version) for its, _, version in names if its == task)
    return f"{task}/v{max((int(found[1]) for found in numbered if found), default=0) + 1}"


def _find_root(name: str, directory: Path | None, task: str | None) -> Path:
    roots = roots_of(directory)
    if not _NAME.fullmatch(name):
        wrong = "is not a name of the form task/version"
    elif task not in (None, task_of(name)):
        wrong = f"is not for the task {task!r}"
    else:
        for root in roots:
            if (root / name).is_dir():
                return root
        wrong = "does not exist"
    choices = [each for each in list_names(directory) if task in (None, task_of(each))]
    close = get_close_matches(name, choices, n=1) if task in (None, task_of(name)) else []
    hint = f" (did you mean {close[0]}?)" if close else ""
    listed = ", ".join(choices) or "none (no version is installed)"
    raise UsageError(f"prompt {name!r} {wrong}{hint}; choose one of {listed}.")


def _natural(name: str) -> list[tuple[int, str]]:
    parts = re.split(r"([0-9]+)", name)
    return [(int(part) if part.isdecimal() else -1, part) for part in parts]


def _read_text(path: Path, root: Path) -> str:
    try:
        target = path.resolve(strict=True)
        if not target.is_relative_to(root.resolve()):
            raise UsageError(
                f"{path} leads out of the prompt directory {root}, to {target}; put a copy there "
                "instead of the link."
            )
        return target.read_bytes().decode()
    except FileNotFoundError as error:
        raise UsageError(
            f"{path} is missing; create it, or name another file in {MANIFEST}."
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8.") from error
    except (OSError, RuntimeError) as error:  # the latter of links in a circle
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{path} cannot be read: {reason}; correct that.") from error


def _check_lock(files: PromptFiles, directory: Path | None) -> None:
    if found := _find_locked_change(files, directory):
        raise UsageError(_explain_change(files, directory, *found))
    if files.root == shipped() != directory and files.name not in read_lock(files.root):
        raise UsageError(
            f"{files.folder} is a draft among the shipped versions, which have to be locked; try "
            f"it with `--prompts {files.root}`, or release it with `{COMMAND} lock {files.name} "
            f"--prompts {files.root}`."
        )


def _explain_change(files: PromptFiles, directory: Path | None, root: Path, change: Change) -> str:
    """What to do about a file that is not as the lock of `root` has it."""
    path = files.folder / (change.file if change.file in files.texts else MANIFEST)
    if root == files.root:
        wrong, then = f"was changed, and {files.name} is", "restore the file"
    else:
        wrong, then = f"is not that of {files.name}, which is", f"remove {files.folder}"
    return (
        f"{path} {wrong} locked in {root / LOCK}: the hash of {change.file} is {change.actual}, "
        f"and was {change.locked}. Take the change into a version of its own with `{COMMAND} new "
        f"{suggest_next(files.name, directory)} --from {files.name} --prompts "
        f"{directory or 'DIR'}`, and {then}."
    )


def _find_locked_change(files: PromptFiles, directory: Path | None) -> tuple[Path, Change] | None:
    """The lock that `files` break, and by which file: a name means one content, in any root."""
    for root in roots_of(directory):
        locked = read_lock(root).get(files.name)
        if locked and (change := find_change(files.texts, locked)):
            return root, change
    return None


def _check_parent(files: PromptFiles, directory: Path | None) -> None:
    parent = files.manifest.parent
    if parent is None:
        return
    path = files.folder / MANIFEST
    if parent == files.name:
        raise UsageError(f"{path}: parent: {parent} is the version itself; name another or none.")
    if not any((root / parent / MANIFEST).is_file() for root in roots_of(directory)):
        listed = ", ".join(each for each in list_names(directory) if each != files.name)
        raise UsageError(
            f"{path}: parent: there is no version {parent!r}; name one of {listed}, or remove the "
            "key."
        )
