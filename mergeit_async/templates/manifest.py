"""What prompt.toml of a version says, and what the versions of a kind may say in it.

title, why      one sentence each
parent          the version that it was derived from, if any
judges          of a judge: "row" (the default) scores one row, "pair" compares two merged rows
[files]         names of the files in the version's folder, where they are not the usual ones
[parameters]    defaults of the call: temperature, max_output_tokens
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from mergeit_async.errors import UsageError

MANIFEST = "prompt.toml"
# Longer names are no use on some file systems.
PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"

MERGE, REPAIR, JUDGE, PAIR = "merge", "repair", "judge", "pair"
# The tasks that have versions of their own kind; a user's own tasks are ways to merge.
TASKS = (MERGE, REPAIR, JUDGE)

FileName = Annotated[str, StringConstraints(pattern=f"^{PART}$")]
VersionName = Annotated[str, StringConstraints(pattern=f"^{PART}/{PART}$")]
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
    judges: Literal["row", "pair"] | None = None
    files: FileNames = FileNames()
    parameters: Parameters = Parameters()


@dataclass(frozen=True, slots=True)
class Kind:
    """What versions of one kind have beside prompt.toml: `optional` files may be missing.

    `set_by` tells who sets the parameters of their calls where [parameters] may not.
    """

    files: tuple[str, ...]
    optional: tuple[str, ...] = ()
    set_by: str | None = None


KINDS: Mapping[str, Kind] = {
    MERGE: Kind(("system", "user", "fewshots", "schema"), optional=("fewshots",)),
    REPAIR: Kind(("user",), set_by="a repair goes on with the request of its merge"),
    JUDGE: Kind(("system", "user"), set_by="the way in which scores are drawn settles them"),
    PAIR: Kind(("system", "user", "schema")),
}


def task_of(name: str) -> str:
    """What the version `name` is for: repair, judge, or merge, whatever else its task is called."""
    task = name.partition("/")[0]
    return task if task in TASKS else MERGE


def kind_of(name: str, manifest: Manifest) -> str:
    """The kind of a version, a key of `KINDS`: its task, but for judges of pairs."""
    task = task_of(name)
    return PAIR if task == JUDGE and manifest.judges == "pair" else task


def parse_manifest(toml: str, name: str, path: Path) -> Manifest:
    """The manifest of the version `name`, as `toml` in the file `path` says.

    Raises UsageError for TOML that is none, a key with a wrong value, and one of no use.
    """
    try:
        manifest = Manifest.model_validate(tomllib.loads(toml))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML: {error}; correct that line.") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            f"{path}: {key}: {first['msg']} (found {first['input']!r}); correct that key."
        ) from error
    _check_use(manifest, name, path)
    return manifest


def list_files(name: str, manifest: Manifest) -> Mapping[str, bool]:
    """The names of the files that a version has beside its manifest, and whether each has to be."""
    kind = KINDS[kind_of(name, manifest)]
    names = manifest.files.model_dump(by_alias=True)
    named = manifest.files.model_dump(by_alias=True, exclude_unset=True)
    return {names[role]: role in named or role not in kind.optional for role in kind.files}


def _check_use(manifest: Manifest, name: str, path: Path) -> None:
    """Refuse what the version's kind makes nothing of."""
    task, kind = task_of(name), KINDS[kind_of(name, manifest)]
    if manifest.judges and task != JUDGE:
        raise UsageError(
            f"{path}: judges: a prompt for the task {task!r} does not judge; remove it."
        )
    for role in sorted(manifest.files.model_dump(by_alias=True, exclude_unset=True)):
        if role not in kind.files:
            raise UsageError(
                f"{path}: files.{role}: a prompt for the task {task!r} has no such file; "
                "remove that key."
            )
    for parameter, value in manifest.parameters.model_dump(exclude_none=True).items():
        if kind.set_by:
            raise UsageError(
                f"{path}: parameters.{parameter}: {value} would be ignored, as {kind.set_by}; "
                "remove that key."
            )
