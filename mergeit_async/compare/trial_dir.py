"""What an A/B run is, beside `run.toml`: its arms and the number of groups, in `ab.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import tomli_w

from mergeit_async.compare.arms import Arm, as_values, settings_of
from mergeit_async.config import Settings
from mergeit_async.data.atomic import write_atomically
from mergeit_async.engine.identity import Identity, identify
from mergeit_async.engine.lanes import prepare_servers
from mergeit_async.engine.prices import Prices, PriceSheet
from mergeit_async.engine.prompts import find_prompts
from mergeit_async.engine.run_dir import RunDir
from mergeit_async.errors import UsageError
from mergeit_async.templates.judge import load_pair_judge

PAIR_PROMPT = "judge/v2"


@dataclass(frozen=True, slots=True)
class Trial:
    """The arms that are compared on `n_groups` groups.

    `judging` names the prompt version that prefers one of two merges, and its hash; `forms` is how
    the judge was found to give scores. Both are empty without a judge.
    """

    n_groups: int
    arms: tuple[Arm, ...]
    judging: dict[str, str] = field(default_factory=dict)
    forms: dict[str, str] = field(default_factory=dict)

    def grown_to(self, later: Trial) -> Trial:
        """This trial with the arms and groups that `later` has more.

        Raises `UsageError` where `later` has not all that this one has.
        """
        for mine, theirs in zip(self.arms, later.arms, strict=False):
            if not mine.is_same_as(theirs):
                raise UsageError(
                    f"The arm {mine.name}={mine.description} of this run is now "
                    f"{theirs.name}={theirs.description}, or its prompt has changed; name the old "
                    "arms as they were and add new ones after them, or choose another --out."
                )
        if len(later.arms) < len(self.arms):
            names = ", ".join(arm.name for arm in self.arms[len(later.arms) :])
            raise UsageError(f"This run also has the arms {names}; name them too, after the rest.")
        if later.n_groups < self.n_groups:
            raise UsageError(
                f"This run compares {self.n_groups:,} groups; --groups may only become more."
            )
        if later.judging != self.judging:
            raise UsageError("Its judge, or the judge's prompt, is another; choose another --out.")
        return replace(self, n_groups=later.n_groups, arms=self.arms + later.arms[len(self.arms) :])


@dataclass(frozen=True, slots=True)
class TrialDir:
    """The files of an A/B run that other runs do not have."""

    run: RunDir

    @property
    def record(self) -> Path:
        """The arms."""
        return self.run.path / "ab.toml"

    @property
    def result(self) -> Path:
        """What was found; equal bytes however often the run was interrupted."""
        return self.run.compared

    @property
    def times(self) -> Path:
        """Latencies, which are different each time."""
        return self.run.path / "ab_times.json"

    @property
    def page(self) -> Path:
        """The result for a browser."""
        return self.run.path / "ab.html"

    def write(self, trial: Trial) -> None:
        """Write `ab.toml`, atomically."""
        content = {
            "groups": trial.n_groups,
            "judging": trial.judging,
            "forms": trial.forms,
            "arms": [as_values(arm) for arm in trial.arms],
        }
        with write_atomically(self.record) as file:
            tomli_w.dump(content, file)

    def read(self) -> Trial:
        """What `write` wrote; raises `UsageError` where no A/B run is recorded."""
        try:
            content = tomllib.loads(self.record.read_text(encoding="utf-8"))
            arms = tuple(Arm(**values) for values in content["arms"])
            return Trial(content["groups"], arms, content["judging"], content["forms"])
        except FileNotFoundError:
            raise UsageError(
                f"{self.run.path} holds no A/B run (there is no ab.toml); name the directory that "
                "was given as --out."
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{self.record} cannot be used ({error}); restore it.") from None

    def forget_result(self) -> None:
        """An unfinished run has no result."""
        for path in (self.result, self.times, self.page):
            path.unlink(missing_ok=True)


def judging_of(settings: Settings) -> dict[str, str]:
    """The prompt version that prefers one of two merges, and its hash; nothing without a judge."""
    if settings.judge is None:
        return {}
    version = load_pair_judge(PAIR_PROMPT, settings.prompts)
    return {version.name: version.hash}


def identify_trial(
    settings: Settings, dataset: str, trial: Trial, vectors: str | None = None
) -> Identity:
    """What decides the result of an A/B run; see `identify`."""
    prompts = dict(trial.judging)
    for arm in trial.arms:
        found = find_prompts(settings_of(arm, settings))
        prompts |= found.hashes if found else {}
    return replace(identify(settings, dataset, None, vectors), prompts=prompts)


def find_all_prices(
    settings: Settings, arms: Sequence[Arm], frozen: Prices | None = None
) -> Prices:
    """The prices of all arms' models and of the judge, as `prepare_servers` finds them."""
    prices: dict[str, dict[str, PriceSheet]] = {}
    for arm in arms:
        chosen = settings_of(arm, settings)
        for url, sheets in prepare_servers(chosen, find_prompts(chosen), frozen).items():
            prices.setdefault(url, {}).update(sheets)
    return prices
