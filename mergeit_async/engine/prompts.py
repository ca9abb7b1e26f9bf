"""The prompt versions of a run: the one that merges, and those that repair and judge."""

from __future__ import annotations

from dataclasses import dataclass

from mergeit_async.config import NO_REPAIR, Settings
from mergeit_async.templates.judge import JudgePrompt, load_judge
from mergeit_async.templates.repair import RepairPrompt, load_repair
from mergeit_async.templates.version import PromptVersion, load_prompt


@dataclass(frozen=True, slots=True)
class Prompts:
    """All that a run asks with; `repair` and `judge` are None where the run does without."""

    merge: PromptVersion
    repair: RepairPrompt | None = None
    judge: JudgePrompt | None = None

    @property
    def hashes(self) -> dict[str, str]:
        """The content hash of each version by its name."""
        used = (self.merge, self.repair, self.judge)
        return {version.name: version.hash for version in used if version is not None}

    @property
    def few_shots(self) -> tuple[str, ...]:
        """The replies that the merging prompt shows as examples."""
        turns = self.merge.preamble
        return tuple(turn.content for turn in turns if turn.role == "assistant")


def find_prompts(settings: Settings) -> Prompts | None:
    """The prompts of a run; none where no model is asked.

    Raises `UsageError` for a version that is not there or is damaged.
    """
    if settings.is_offline:
        return None
    folder = settings.prompts
    return Prompts(
        load_prompt(settings.prompt, folder),
        None if settings.repair == NO_REPAIR else load_repair(settings.repair, folder),
        load_judge(settings.judge_prompt, folder) if settings.judge else None,
    )
