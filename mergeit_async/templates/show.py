"""What a prompt version says, for people to read."""

from __future__ import annotations

from pathlib import Path

from mergeit_async.records import Message
from mergeit_async.templates.folder import JUDGE, REPAIR, PromptFiles, read_prompt_files, task_of
from mergeit_async.templates.judge import load_judge
from mergeit_async.templates.repair import load_repair
from mergeit_async.templates.version import PromptSummary, load_prompt, summarise


def describe_turns(
    name: str, directory: Path | None = None
) -> tuple[PromptSummary, tuple[Message, ...]]:
    """The version `name` of any task, and the turns that it sends before its rows.

    One that has none, as it goes on with a conversation, shows its template as the user turn.
    Raises UsageError for whatever is wrong with the version.
    """
    files = read_prompt_files(name, directory)
    return summarise(files), _find_turns(files, directory)


def _find_turns(files: PromptFiles, directory: Path | None) -> tuple[Message, ...]:
    task = task_of(files.name)
    if task == JUDGE:
        return load_judge(files.name, directory).preamble
    if task == REPAIR:
        load_repair(files.name, directory)  # raises what is wrong with it
        return (Message("user", files.read(files.manifest.files.user)),)
    return load_prompt(files.name, directory).preamble
