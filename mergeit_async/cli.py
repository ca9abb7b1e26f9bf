"""The command line: `python -m mergeit_async`.

Exit codes: 0 done, 1 failed, 2 wrong use or bad input, 3 stopped early and resumable, 4
`ab --fail-if-worse`.
Logs go to stderr; with --json one JSON object goes to stdout.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NoReturn

import typer

from mergeit_async.ab_cli import ab, finish
from mergeit_async.compare.ab_job import AbJob
from mergeit_async.compare.trial_dir import TrialDir
from mergeit_async.console import show
from mergeit_async.data.export import FORMATS
from mergeit_async.engine.preview import preview
from mergeit_async.engine.progress import Progress
from mergeit_async.engine.run_dir import RunDir
from mergeit_async.engine.run_report import read_report
from mergeit_async.engine.status import read_status
from mergeit_async.engine.tuning import request_tuning
from mergeit_async.errors import MergeItError, UsageError
from mergeit_async.execution import complete, leave, sentence
from mergeit_async.job import Job
from mergeit_async.options import (
    merge_options,
    plan_options,
    setting_values,
    settings_from,
    simulator_options,
    simulator_values,
    transport_options,
    tuning_options,
    with_options,
)
from mergeit_async.prompts_cli import prompts_app
from mergeit_async.simulator.server import serve
from mergeit_async.simulator.settings import SimulatorSettings
from mergeit_async.viewer.report_page import write_report_page
from mergeit_async.viewer.tables import (
    preview_text,
    status_text,
    summary_text,
)

app = typer.Typer(
    help="Merge large instruction-tuning datasets into small, rich ones.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(prompts_app, name="prompts")

DatasetArgument = Annotated[
    Path, typer.Argument(help="JSON, JSONL, CSV or Parquet; .gz and .zst too.")
]
RunArgument = Annotated[Path, typer.Argument(help="The directory given as --out.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


@app.command()
@with_options(plan_options, merge_options, transport_options)
def run(
    dataset: DatasetArgument,
    out: Annotated[Path, typer.Option(help="Directory of the run; absent or empty.")],
    as_json: JsonOption = False,
    **options: Any,
) -> None:
    """Merge DATASET; the result is OUT/merged.jsonl."""
    execute(Job.begin(settings_from(dataset, options), out), as_json)


app.command()(ab)


@app.command()
@with_options(transport_options)
def resume(
    run_dir: RunArgument,
    retry_failed: Annotated[bool, typer.Option(help="Also groups that never got a reply.")] = False,
    as_json: JsonOption = False,
    **options: Any,
) -> None:
    """Go on with an interrupted run; nothing that was paid is paid again."""
    changes = setting_values(options)
    if TrialDir(RunDir(run_dir)).record.exists():
        finish(AbJob.reopen(run_dir, changes), as_json, retry_failed=retry_failed)
    else:
        execute(Job.reopen(run_dir, changes), as_json, retry_failed=retry_failed)


@app.command()
def status(run_dir: RunArgument, as_json: JsonOption = False) -> None:
    """What a run has done so far; also while it is working."""
    found = RunDir(run_dir)
    now = read_status(found)
    show(asdict(now) if as_json else status_text(now, found))


@app.command()
def report(run_dir: RunArgument) -> None:
    """Write RUN_DIR/report.html: what became of the groups, how much merges keep, examples."""
    found = RunDir(run_dir)
    if TrialDir(found).record.exists():
        raise UsageError(f"{run_dir} is an A/B run; open {TrialDir(found).page}.")
    write_report_page(found, read_report(found))
    show(str(found.report))


@app.command()
@with_options(plan_options, merge_options, transport_options)
def plan(dataset: DatasetArgument, as_json: JsonOption = False, **options: Any) -> None:
    """Groups, calls, tokens, cost and time of a run, without sending anything."""
    settings = settings_from(dataset, options)
    with TemporaryDirectory(prefix="mergeit-plan-") as folder:
        planned = preview(settings, Path(folder) / "run", Progress())
    show(asdict(planned) if as_json else preview_text(planned))


@app.command()
@with_options(tuning_options)
def tune(run_dir: RunArgument, **options: Any) -> None:
    """Change the limits of a running job; it goes on with them within a second."""
    show(request_tuning(RunDir(run_dir), setting_values(options)))


@app.command()
def export(
    run_dir: RunArgument,
    format_: Annotated[str, typer.Option("--format", help=", ".join(FORMATS))],
    to: Annotated[
        Path | None, typer.Option(help="File to write; default: beside merged.jsonl.")
    ] = None,
) -> None:
    """Write the result of a finished run in another format."""
    if format_ not in FORMATS:
        raise UsageError(f"There is no format {format_!r}; there is {', '.join(FORMATS)}.")
    found = RunDir(run_dir)
    found.read_record()
    target = to or run_dir / f"merged.{format_}.json"
    count = FORMATS[format_](found.merged, target)
    show(f"{count:,} rows in {target}")


@app.command()
@with_options(simulator_options)
def simulator(**options: Any) -> None:
    """An OpenAI-compatible server on loopback, with limits and faults, for rehearsals.

    GET /stats tells what it saw; POST /control changes its limits and faults while it runs.
    """
    serve(SimulatorSettings(**simulator_values(options)))


def execute(job: Job, as_json: bool, *, retry_failed: bool = False) -> None:
    """Run `job` to its end and tell what became of the input."""
    summary = complete(job, lambda: job.run(retry_failed=retry_failed))
    run_dir = job.run_dir
    as_object = asdict(summary) | {"run_dir": str(run_dir.path)}
    show(as_object if as_json else summary_text(summary, run_dir))


def main() -> NoReturn:
    """Run the command line; ends the process."""
    try:
        app(standalone_mode=True)
    except MergeItError as error:
        sys.stderr.write(f"mergeit_async: {sentence(str(error))}\n")
        leave(error.exit_code)
    except BrokenPipeError:
        leave(1)
    except OSError as error:
        sys.stderr.write(f"mergeit_async: {error.filename or 'the disk'}: {error.strerror}.\n")
        leave(1)
    sys.exit(0)
