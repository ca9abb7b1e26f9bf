"""Prompts that judge: one has a row scored, the other has two merged rows compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mergeit_async.errors import UsageError
from mergeit_async.records import Example, Message, Row
from mergeit_async.templates.folder import PromptFiles, read_prompt_files
from mergeit_async.templates.manifest import JUDGE, PAIR
from mergeit_async.templates.samples import GROUP_SIZES, MERGED, POORER, SAMPLES
from mergeit_async.templates.schema import parse_choice_schema
from mergeit_async.templates.turn import UserTemplate, compile_template, to_object

# What a reply to a judge of pairs says in a form, and the values that it may have.
BETTER, CHOICES = "better", ("A", "B", "tie")


@dataclass(frozen=True, slots=True)
class JudgePrompt:
    """A version that scores one row, read and checked.

    `preamble` is the system message, the same in every call and sent first. `hash` changes with
    any byte of the version's files.
    """

    name: str
    hash: str
    preamble: tuple[Message, ...]
    _user: UserTemplate = field(repr=False, compare=False)

    def ask(self, row: Row | Example) -> str:
        """The user turn that asks for the scores of `row`."""
        return self._user.fill(row=to_object(row))


@dataclass(frozen=True, slots=True)
class PairPrompt:
    """A version that compares two merges of the same sources, read and checked.

    `preamble` and `hash` are as above; `parameters` are defaults of the call, and `schema` is the
    JSON schema of the reply where it is asked for in a form.
    """

    name: str
    hash: str
    parameters: Mapping[str, float | int]
    schema: Mapping[str, Any]
    preamble: tuple[Message, ...]
    _user: UserTemplate = field(repr=False, compare=False)

    def ask(self, rows: Sequence[Row | Example], a: Row | Example, b: Row | Example) -> str:
        """The user turn that asks which of `a` and `b` is the better merge of `rows`."""
        return self._user.fill(
            rows=[to_object(row) for row in rows], a=to_object(a), b=to_object(b)
        )


def load_judge(name: str = "judge/v1", directory: Path | None = None) -> JudgePrompt:
    """Read and check the version `name` from `directory` or the shipped ones.

    Raises UsageError with file, line and next step for whatever is wrong with it.
    """
    files = _read_judge(name, directory, JUDGE, "scores one row, such as judge/v1")
    prompt = JudgePrompt(name, files.hash, *_read_turns(files, ("row",)))
    for row in SAMPLES:
        prompt.ask(row)
    return prompt


def load_pair_judge(name: str = "judge/v2", directory: Path | None = None) -> PairPrompt:
    """Read and check the version `name`, which compares two merged rows; raises as `load_judge`."""
    files = _read_judge(name, directory, PAIR, "compares two rows, such as judge/v2")
    file = files.manifest.files.schema_
    prompt = PairPrompt(
        name,
        files.hash,
        files.manifest.parameters.model_dump(exclude_none=True),
        parse_choice_schema(files.read(file), files.folder / file, BETTER, CHOICES),
        *_read_turns(files, ("rows", "a", "b")),
    )
    for size in GROUP_SIZES:
        prompt.ask(SAMPLES[:size], MERGED, POORER)
    return prompt


def _read_judge(name: str, directory: Path | None, kind: str, wanted: str) -> PromptFiles:
    files = read_prompt_files(name, directory, JUDGE)
    if files.kind != kind:
        found = "a pair of rows" if files.kind == PAIR else "a single row"
        raise UsageError(f"prompt {name!r} judges {found}; choose one that {wanted}.")
    return files


def _read_turns(
    files: PromptFiles, names: Sequence[str]
) -> tuple[tuple[Message, ...], UserTemplate]:
    file = files.manifest.files
    user = compile_template(files.read(file.user), files.folder / file.user, names)
    return (Message("system", files.read(file.system)),), user
