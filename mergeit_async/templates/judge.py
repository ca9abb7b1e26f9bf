"""A prompt that has one row scored: the system message, and the user turn for the row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mergeit_async.records import Example, Message, Row
from mergeit_async.templates.folder import JUDGE, read_prompt_files
from mergeit_async.templates.turn import UserTemplate, compile_template, to_object
from mergeit_async.templates.version import PROBE


@dataclass(frozen=True, slots=True)
class JudgePrompt:
    """A version that was read and checked.

    `preamble` is the system message, the same in every call and sent first. `parameters` are
    defaults of the call. `hash` changes with any byte of the version's files.
    """

    name: str
    hash: str
    parameters: Mapping[str, float | int]
    preamble: tuple[Message, ...]
    _user: UserTemplate = field(repr=False, compare=False)

    def ask(self, row: Row | Example) -> str:
        """The user turn that asks for the scores of `row`."""
        return self._user.fill(row=to_object(row))


def load_judge(name: str = "judge/v1", directory: Path | None = None) -> JudgePrompt:
    """Read and check the version `name` from `directory` or the shipped ones.

    Raises UsageError with file, line and next step for whatever is wrong with it.
    """
    files = read_prompt_files(name, directory, JUDGE)
    names = files.manifest.files
    prompt = JudgePrompt(
        name,
        files.hash,
        files.manifest.parameters.model_dump(exclude_none=True),
        (Message("system", files.read(names.system)),),
        compile_template(files.read(names.user), files.folder / names.user, ("row",)),
    )
    for row in PROBE:
        prompt.ask(row)
    return prompt
