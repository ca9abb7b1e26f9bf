"""A prompt that merges, ready to send: the fixed turns, and the user turn for a group of rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mergeit_async.errors import UsageError
from mergeit_async.records import Example, Message, Row
from mergeit_async.templates.fewshots import FewShot, parse_fewshots
from mergeit_async.templates.folder import (
    DAMAGED,
    PromptFiles,
    find_prompt_files,
    find_state,
    list_names,
    read_prompt_files,
)
from mergeit_async.templates.manifest import MERGE
from mergeit_async.templates.samples import GROUP_SIZES, SAMPLES
from mergeit_async.templates.schema import FIELDS, parse_row_schema
from mergeit_async.templates.turn import UserTemplate, compile_template


@dataclass(frozen=True, slots=True)
class PromptSummary:
    """One line of the list of prompts; `hash` covers all files of the version.

    `state` is locked, draft, changed (since it was locked) or damaged; then `hash` is empty and
    `why` says what is wrong.
    """

    name: str
    title: str
    why: str
    hash: str
    parent: str | None
    state: str


@dataclass(frozen=True, slots=True)
class PromptVersion:
    """A version that was read and checked.

    `preamble` is the system message and the few-shot turns: byte-identical in every call, and
    sent first, so that servers can cache it. `parameters` are defaults of the call. `schema` is
    the JSON schema of the reply. `hash` changes with any byte of the version's files.
    """

    name: str
    title: str
    hash: str
    parameters: Mapping[str, float | int]
    schema: Mapping[str, Any]
    preamble: tuple[Message, ...]
    _user: UserTemplate = field(repr=False, compare=False)

    @property
    def has_notes(self) -> bool:
        """Whether the reply holds more than the merged row, such as a list of its contents."""
        return not self.schema["properties"].keys() <= set(FIELDS)

    def ask(self, rows: Sequence[Row | Example]) -> str:
        """The user turn that asks for the merge of `rows`."""
        return self._user.render(rows)


def load_prompt(name: str, directory: Path | None = None) -> PromptVersion:
    """Read and check the version `name`, such as "merge/v1", from `directory` or the shipped ones.

    Raises UsageError, one sentence with file, line and next step, for whatever is wrong with it:
    no such version, one for another task, a missing or broken file, one that is not as it was
    locked, few-shots against the schema, an undefined name.
    """
    files = read_prompt_files(name, directory, MERGE)
    names = files.manifest.files
    user = compile_template(files.read(names.user), files.folder / names.user)
    schema = parse_row_schema(files.read(names.schema_), files.folder / names.schema_)
    shots = parse_fewshots(
        files.texts.get(names.fewshots, ""), schema, files.folder / names.fewshots
    )
    for size in GROUP_SIZES:
        user.render(SAMPLES[:size])
    return PromptVersion(
        name=name,
        title=files.manifest.title,
        hash=files.hash,
        parameters=files.manifest.parameters.model_dump(exclude_none=True),
        schema=schema,
        preamble=tuple(_preamble(files.read(names.system), shots, user)),
        _user=user,
    )


def list_prompts(directory: Path | None = None) -> list[PromptSummary]:
    """All versions, those of `directory` before shipped ones of the same name."""
    return [_summarise_any(name, directory) for name in list_names(directory)]


def _preamble(system: str, shots: Sequence[FewShot], user: UserTemplate) -> Iterator[Message]:
    yield Message("system", system)
    for shot in shots:
        yield Message("user", user.render(shot.sources))
        yield Message("assistant", shot.reply)


def summarise(files: PromptFiles, directory: Path | None) -> PromptSummary:
    """What a list of prompts tells about one version."""
    manifest = files.manifest
    state = find_state(files, directory)
    return PromptSummary(
        files.name, manifest.title, manifest.why, files.hash, manifest.parent, state
    )


def _summarise_any(name: str, directory: Path | None) -> PromptSummary:
    try:
        return summarise(find_prompt_files(name, directory), directory)
    except UsageError as error:
        return PromptSummary(name, "cannot be read", str(error), "", None, DAMAGED)
