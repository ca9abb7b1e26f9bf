"""What an A/B run does with its servers: settle the forms, merge by each arm, judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from mergeit_async.compare.arm_merger import ArmMerger
from mergeit_async.compare.arms import Arm, requests_of, settings_of
from mergeit_async.compare.judging import Judging
from mergeit_async.compare.preferring import Preferring
from mergeit_async.compare.trial_dir import PAIR_PROMPT, Trial
from mergeit_async.config import Settings
from mergeit_async.engine.inspector import Inspector, Knowledge
from mergeit_async.engine.journal import Journal
from mergeit_async.engine.mergers import ChatMerger
from mergeit_async.engine.plan_folder import PlannedGroup
from mergeit_async.engine.probe import Probe
from mergeit_async.engine.prompts import find_prompts
from mergeit_async.engine.referee import Referee
from mergeit_async.engine.requests import PLAIN, Requests
from mergeit_async.engine.session import Session
from mergeit_async.engine.tables import connect_reader, read_outcomes
from mergeit_async.records import Example, Group
from mergeit_async.templates.judge import load_pair_judge


class Stages:
    """The stages of one session of an A/B run, each as what a pipeline needs."""

    def __init__(
        self,
        settings: Settings,
        trial: Trial,
        load_group: Callable[[PlannedGroup], Group],
        session: Session,
        journal: Journal,
    ) -> None:
        self._settings = settings
        self._trial = trial
        self._load_group = load_group
        self._session = session
        self._journal = journal

    async def settle_forms(self) -> Trial:
        """How to ask each model: found out once, and part of what the run is from then on."""
        probe = Probe(self._session.caller, self._journal, self._session.limiter.lanes)
        arms = [await self._settle_arm(arm, probe) for arm in self._trial.arms]
        forms = self._trial.forms
        if self._settings.judge and not forms:
            forms = {"scores": await probe.settle_scores(self._judge_requests())}
        self._trial = replace(self._trial, arms=tuple(arms), forms=forms)
        return self._trial

    def knowledge(self, words: Path) -> Knowledge:
        """What the gates need to know, of the prompts of all arms."""
        found = (find_prompts(settings_of(arm, self._settings)) for arm in self._trial.arms)
        shots = dict.fromkeys(shot for prompts in found if prompts for shot in prompts.few_shots)
        return Knowledge(self._settings.min_information, words, tuple(shots))

    def merging(self, inspector: Inspector) -> ArmMerger:
        """Merges by each arm; the judge has no say in what is accepted."""
        return ArmMerger(
            [
                ChatMerger(
                    self._load_group,
                    requests_of(arm, self._settings),
                    self._session.caller,
                    self._journal,
                    inspector,
                    self._settings.max_attempts,
                    is_metered=True,
                )
                for arm in self._trial.arms
            ]
        )

    def judging(self, journal: Path) -> Judging:
        """Judges what all arms made of a group, as the `journal` has it."""
        assert self._settings.judge is not None, "a run without a judge"
        requests = self._judge_requests()
        requests.settle(PLAIN, self._trial.forms["scores"])
        caller = self._session.caller
        preferring = Preferring(
            load_pair_judge(PAIR_PROMPT, self._settings.prompts),
            self._settings.judge,
            self._settings.endpoint,
            caller,
            self._journal,
        )
        return Judging(
            self._load_group,
            read_merged(journal),
            len(self._trial.arms),
            Referee(requests, caller, self._journal),
            preferring,
            caller,
        )

    async def _settle_arm(self, arm: Arm, probe: Probe) -> Arm:
        if arm.forms:
            return arm
        requests = requests_of(arm, self._settings)
        form = await probe.settle_form(settings_of(arm, self._settings), requests)
        return replace(arm, forms={"form": form})

    def _judge_requests(self) -> Requests:
        # Any arm's: the judge is the same for all.
        return requests_of(self._trial.arms[0], self._settings)


def read_merged(journal: Path) -> Mapping[int, Example]:
    """The accepted merges by their places."""
    with closing(connect_reader(journal)) as connection:
        return {
            outcome.position: outcome.merged
            for outcome in read_outcomes(connection)
            if outcome.merged is not None
        }
