"""A run before it is begun: what its plan is and what merging it would take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mergeit_async.config import Settings
from mergeit_async.data.dataset import dataset_digest
from mergeit_async.engine.estimate import Estimate, estimate_run
from mergeit_async.engine.identity import identify
from mergeit_async.engine.lanes import prepare_prices
from mergeit_async.engine.planner import Planner, count_lines
from mergeit_async.engine.portraits import TopicPortrait
from mergeit_async.engine.progress import Progress
from mergeit_async.engine.prompts import find_prompts
from mergeit_async.engine.requests import Requests
from mergeit_async.engine.run_dir import RunDir


@dataclass(frozen=True, slots=True)
class Preview:
    """What a run would do.

    `estimate` is None where no model would be asked; its cost leaves out the `unpriced` servers.
    `portraits` tell what the topics are about.
    """

    rows: int
    rejected: int
    topics: int
    selected: int
    groups: int
    grouped_rows: int
    estimate: Estimate | None
    unpriced: tuple[str, ...] = ()
    portraits: tuple[TopicPortrait, ...] = ()

    @property
    def least_rows_out(self) -> int:
        """The size of the result if every group is merged."""
        return self.selected - self.grouped_rows + self.groups


def preview(settings: Settings, folder: Path, progress: Progress) -> Preview:
    """Plan `settings` in the empty `folder` and count what merging would take; sends nothing.

    Raises `UsageError` for a cap or a rate that a run would refuse.
    """
    prompts = find_prompts(settings)
    prices = prepare_prices(settings, prompts, {}) if prompts else {}
    dataset = dataset_digest(settings.dataset)
    run = RunDir(folder)
    run.plan.path.mkdir(parents=True)
    planner = Planner(run, settings, identify(settings, dataset, prompts), progress)
    topics = list(planner.topics())
    planned = [group for topic in topics for group in topic.groups]
    estimate, unpriced = None, tuple[str, ...]()
    if prompts is not None:
        requests = Requests(settings, prompts)
        unpriced = tuple(server.url for server in settings.servers if server.url not in prices)
        estimate = estimate_run(map(planner.load_group, planned), requests, settings, prices)
    return Preview(
        rows=len(planner.rows()),
        rejected=count_lines(run.rejected),
        topics=len(topics),
        selected=sum(len(topic.selected) for topic in topics),
        groups=len(planned),
        grouped_rows=sum(len(group.rows) for group in planned),
        estimate=estimate,
        unpriced=unpriced,
        portraits=tuple(planner.portraits()),
    )
