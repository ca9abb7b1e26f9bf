"""The folder of a prompt version: where it is found, what its files hold, and their hash.

prompts/<task>/<version>/prompt.toml    title, why, parent, names of the files, parameters
                         system.md      the system message, sent as it stands
                         user.j2        the user turn, rendered from the rows
                         fewshots.jsonl solved examples, one a line; may be empty
                         schema.json    JSON schema of the reply

The task says which of them there are: `repair` has prompt.toml and user.j2 alone, as it goes on
with the conversation of a merge; `judge` has a system message too; any other task has all.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from mergeit_async.errors import UsageError
from mergeit_async.ids import digest

MANIFEST = "prompt.toml"
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_NAME = re.compile(f"{_PART}/{_PART}")

MERGE, REPAIR, JUDGE = "merge", "repair", "judge"
# What the versions of a task have beside prompt.toml; a user's own tasks are ways to merge.
_FILES_OF_TASK: Mapping[str, tuple[str, ...]] = {
    MERGE: ("system", "user", "fewshots", "schema"),
    REPAIR: ("user",),
    JUDGE: ("system", "user"),
}

FileName = Annotated[str, StringConstraints(pattern=f"^{_PART}$")]
VersionName = Annotated[str, StringConstraints(pattern=f"^{_PART}/{_PART}$")]
Sentence = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class FileNames(BaseModel):
    """The `[files]` table: plain names of files in the version's own folder."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    system: FileName = "system.md"
    user: FileName = "user.j2"
    fewshots: FileName = "fewshots.jsonl"
    schema_: FileName = Field(default="schema.json", alias="schema")


class Parameters(BaseModel):
    """The `[parameters]` table: defaults of the call that a run may override."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    temperature: float | None = Field(default=None, ge=0, le=2)
    max_output_tokens: int | None = Field(default=None, ge=1)


class Manifest(BaseModel):
    """What prompt.toml holds. `parent` is the version that this one was derived from."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    title: Sentence
    why: Sentence
    parent: VersionName | None = None
    files: FileNames = FileNames()
    parameters: Parameters = Parameters()


@dataclass(frozen=True, slots=True)
class PromptFiles:
    """One version as it lies on disk: its manifest and the text of each file by file name."""

    name: str
    folder: Path
    manifest: Manifest
    texts: Mapping[str, str]

    @property
    def hash(self) -> str:
        """The identity of the version: names and bytes of all its files, prompt.toml included.

        Other files in the folder (notes, locks) do not count.
        """
        return digest(sorted(self.texts.items()))

    def read(self, file: str) -> str:
        """The text of `file` without its last line break; raises UsageError if it is empty."""
        text = self.texts[file].rstrip("\r\n")
        if not text.strip():
            raise UsageError(f"{self.folder / file} is empty; write the prompt's text into it.")
        return text


def task_of(name: str) -> str:
    """What the version `name` is for: repair, judge, or merge, whatever else its task is called."""
    task = name.partition("/")[0]
    return task if task in _FILES_OF_TASK else MERGE


def read_prompt_files(name: str, directory: Path | None, task: str | None = None) -> PromptFiles:
    """Read the version `name`, such as "merge/v1", which has to be for `task` if that is given.

    Raises UsageError for a name that is none, is unknown or is for another task, for files that
    are missing, not UTF-8, or not valid TOML, and for a file that the task has no use for.
    """
    folder = _find_folder(name, directory, task)
    toml = _read_text(folder / MANIFEST)
    manifest = _parse_manifest(toml, folder / MANIFEST)
    texts = {MANIFEST: toml}
    for file in _list_files(manifest.files, task_of(name), folder / MANIFEST):
        texts[file] = _read_text(folder / file)
    return PromptFiles(name, folder, manifest, texts)


def list_names(directory: Path | None) -> list[str]:
    """The names of all versions, the user's and the shipped ones, v2 before v10."""
    manifests = (path for root in _roots(directory) for path in root.glob(f"*/*/{MANIFEST}"))
    names = {f"{path.parts[-3]}/{path.parts[-2]}" for path in manifests}
    return sorted(filter(_NAME.fullmatch, names), key=_natural)


def _find_folder(name: str, directory: Path | None, task: str | None) -> Path:
    if not _NAME.fullmatch(name):
        wrong = "is not a name of the form task/version"
    elif task not in (None, task_of(name)):
        wrong = f"is not for the task {task!r}"
    else:
        for root in _roots(directory):
            if (root / name).is_dir():
                return root / name
        wrong = "does not exist"
    raise UsageError(f"prompt {name!r} {wrong}; choose one of {_choices(directory, task)}.")


def _roots(directory: Path | None) -> list[Path]:
    """Where versions are looked for, first match wins: the user's folder, then the shipped one."""
    if directory is None:
        return [_shipped()]
    if not directory.is_dir():
        raise UsageError(f"the prompt directory {directory} does not exist; create it or omit it.")
    return [directory, _shipped()]


def _shipped() -> Path:
    """The prompts inside an installed package, else those at the top of the repository."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "prompts"
    return inside if inside.is_dir() else package.parent / "prompts"


def _choices(directory: Path | None, task: str | None) -> str:
    names = [name for name in list_names(directory) if task in (None, task_of(name))]
    return ", ".join(names) or "none (no version is installed)"


def _natural(name: str) -> list[str | int]:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def _parse_manifest(toml: str, path: Path) -> Manifest:
    try:
        return Manifest.model_validate(tomllib.loads(toml))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML: {error}; correct that line.") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            f"{path}: {key}: {first['msg']} (found {first['input']!r}); correct that key."
        ) from error


def _list_files(files: FileNames, task: str, manifest: Path) -> list[str]:
    """The names of the files that a version for `task` has beside its manifest."""
    roles = _FILES_OF_TASK[task]
    for role in sorted(files.model_dump(by_alias=True, exclude_unset=True)):
        if role not in roles:
            raise UsageError(
                f"{manifest}: files.{role}: a prompt for the task {task!r} has no such file; "
                "remove that key."
            )
    names = files.model_dump(by_alias=True)
    return [names[role] for role in roles]


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except FileNotFoundError as error:
        raise UsageError(
            f"{path} is missing; create it, or name another file in {MANIFEST}."
        ) from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}; correct that.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8.") from error
