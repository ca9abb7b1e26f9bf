"""The command `ab`: prompts and models compared on the same groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from rich.console import Console

from mergeit_async.compare.ab_job import AbJob
from mergeit_async.compare.arms import first_model
from mergeit_async.compare.differing import describe_differing
from mergeit_async.compare.forecast import forecast
from mergeit_async.compare.result import Result, foresee_trial, measured
from mergeit_async.compare.trial_dir import TrialDir
from mergeit_async.compare.verdict import check_comparable, find_worse
from mergeit_async.console import show
from mergeit_async.engine.plan_folder import PlannedGroup
from mergeit_async.errors import UsageError
from mergeit_async.execution import complete, leave
from mergeit_async.options import (
    merge_options,
    plan_options,
    settings_from,
    transport_options,
    with_options,
)
from mergeit_async.viewer.ab_page import write_ab_page
from mergeit_async.viewer.ab_tables import foresight_text, result_text
from mergeit_async.viewer.tables import align, resume_command

N_GROUPS = 400
GROUPS_SHOWN = 12
# What --fail-if-worse leads to.
WORSE = 4


@with_options(plan_options, merge_options, transport_options)
def ab(
    dataset: Annotated[Path, typer.Argument(help="The rows that a run would merge.")],
    out: Annotated[
        Path, typer.Option(help="Directory of the run; one that is there may get more arms.")
    ],
    arm: Annotated[
        list[str] | None,
        typer.Option(help="A=merge/v1, or C=merge/v2@other-model?temperature=0.7; at least two."),
    ] = None,
    groups: Annotated[int, typer.Option(help="Groups that each arm merges.", min=1)] = N_GROUPS,
    fail_if_worse: Annotated[
        str | None,
        typer.Option(help="Exit 4 where an arm is worse than the first in this metric."),
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Tell cost and power, send nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    **options: Any,
) -> None:
    """Compare prompts and models on the same groups of DATASET; the result is OUT/ab.html."""
    arms = arm or []
    if options.get("prompt") is not None:
        raise UsageError("Each --arm names its prompt; leave --prompt out.")
    if options.get("model") is None:
        options["model"] = first_model(arms)
    refuse_one_price_for_many(arms, options)
    settings = settings_from(dataset, options)
    if dry_run:
        with TemporaryDirectory(prefix="mergeit-ab-") as folder:
            job = AbJob.begin(settings, arms, groups, Path(folder) / "run")
            show(foresee(job, job.plan()))
        return
    job = AbJob.begin(settings, arms, groups, out)
    if fail_if_worse is not None:
        check_comparable(fail_if_worse, measured(job.trial, job.settings, job.prices))
    finish(job, as_json, fail_if_worse=fail_if_worse)


def refuse_one_price_for_many(arms: Sequence[str], options: Mapping[str, Any]) -> None:
    """Raise `UsageError` where one price is given and the arms name models that may have others."""
    models = {first_model([arm]) or options["model"] for arm in arms} - {None}
    if options.get("price_in") is not None and len(models) > 1:
        raise UsageError(
            f"--price-in and --price-out are for one model, and the arms name "
            f"{', '.join(sorted(models))}; leave them out, list prices are used where known."
        )


def finish(
    job: AbJob, as_json: bool, *, retry_failed: bool = False, fail_if_worse: str | None = None
) -> None:
    """Run `job` to its end and tell the result; ends the process where it stops early."""

    def tell(sample: Sequence[PlannedGroup]) -> None:
        job.progress.notices.append(foresee(job, sample))

    result: Result = complete(job, lambda: job.run(tell, retry_failed=retry_failed))
    place = TrialDir(job.run_dir)
    differing = describe_differing(
        result.values["groups"],
        result.sample,
        job.planner.load_group,
        job.run_dir.journal,
        GROUPS_SHOWN,
    )
    write_ab_page(place.page, result.values, differing)
    show(
        dict(result.values)
        if as_json
        else result_text(result.values, files_of(place), resume_command(job.run_dir))
    )
    if fail_if_worse is not None:
        leave_if_worse(result, fail_if_worse)


def foresee(job: AbJob, sample: Sequence[PlannedGroup]) -> str:
    """What the run will take, and what it can show."""
    groups = [job.planner.load_group(planned) for planned in sample]
    effort = forecast(job.trial, job.settings, job.prices, groups)
    told = foresee_trial(job.trial, job.settings, job.prices, len(sample))
    arms = align((f"arm {arm.name}", arm.description) for arm in job.trial.arms)
    return f"{arms}\n{foresight_text(told, effort, len(job.trial.arms))}"


def leave_if_worse(result: Result, metric: str) -> None:
    """End with 4 where an arm is worse than the first one, or most of its values are missing."""
    console, first = Console(stderr=True), result.values["arms"][0]["name"]
    worse = [arm for arm, better in find_worse(result.comparisons, metric) if better == first]
    if worse:
        console.print(f"Worse than {first} in {metric}: {', '.join(worse)}.")
    unknown = [
        each.b
        for each in result.comparisons
        if each.a == first and (effect := each.effect(metric)) and effect.n < effect.left_out
    ]
    if unknown:
        console.print(f"Not comparable with {first} in {metric}: {', '.join(unknown)}.")
    if worse or unknown:
        leave(WORSE)


def files_of(place: TrialDir) -> Sequence[tuple[str, str]]:
    """What a person may want to open."""
    return [
        (str(place.page), "the same for a browser, with the groups that differ most"),
        (str(place.result), "all numbers (docs/AB.md)"),
        (str(place.times), "latencies"),
    ]
