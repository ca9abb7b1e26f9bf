"""The commands `prompts …`: versions listed, shown, compared, begun, checked and locked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.text import Text

from mergeit_async.console import show
from mergeit_async.data.atomic import write_atomically
from mergeit_async.engine.sample_group import find_group
from mergeit_async.errors import UsageError
from mergeit_async.merging.compose import compose
from mergeit_async.merging.messages import TOKENS_PER_MESSAGE, estimate_tokens
from mergeit_async.records import Message
from mergeit_async.templates.drafts import diff_versions, draft_version, find_lost, lock_version
from mergeit_async.templates.folder import COMMAND, PromptFiles, list_names, read_prompt_files
from mergeit_async.templates.lock import LOCK, write_lock
from mergeit_async.templates.show import Material, check_prompt, render_turns
from mergeit_async.templates.version import list_prompts, summarise
from mergeit_async.viewer.tables import align

prompts_app = typer.Typer(help="The prompt versions on disk.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="For example merge/v2.")]
DirectoryOption = Annotated[Path | None, typer.Option(help="Directory of your own versions.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]

_COLOURS = {"+": "green", "-": "red", "@": "cyan"}
# Where `new` writes when it is not told.
HERE = Path("prompts")


@prompts_app.command("list")
def list_command(prompts: DirectoryOption = None, as_json: JsonOption = False) -> None:
    """All prompt versions; those of your directory go before shipped ones of the same name."""
    found = list_prompts(prompts)
    if as_json:
        show({"prompts": [asdict(version) for version in found]})
        return
    rows = [
        (
            each.name,
            each.state,
            each.hash[:12],
            f"from {each.parent}" if each.parent else "",
            each.title,
        )
        for each in found
    ]
    show(align(rows))


@prompts_app.command("show")
def show_command(
    name: NameArgument,
    row: Annotated[
        int | None,
        typer.Option(
            help="Line of --data: shown for a group of this row and the one most like it."
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="A dataset; without, sample rows serve.")
    ] = None,
    prompts: DirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """A version as it is sent, turn by turn, with about how many tokens that is."""
    material, about = find_material(row, data)
    turns = render_turns(name, prompts, material)
    files = read_prompt_files(name, prompts)
    facts = {
        **asdict(summarise(files, prompts)),
        "folder": str(files.folder),
        "parameters": files.manifest.parameters.model_dump(exclude_none=True),
        "rows": about,
        "tokens": {
            "fixed": count_tokens(turns[:-1]),
            "rows": count_tokens(turns[-1:]),
            "schema": estimate_tokens(find_schema(files)),
        },
    }
    if as_json:
        show(facts | {"messages": [turn._asdict() for turn in turns]})
    else:
        show(
            "\n\n".join([describe(facts), *(f"--- {each.role}\n{each.content}" for each in turns)])
        )


@prompts_app.command("new")
def new_command(
    name: NameArgument,
    parent: Annotated[str, typer.Option("--from", help="The version to begin with.")],
    prompts: Annotated[
        Path | None, typer.Option(help="Directory to write to; default: ./prompts if it is there.")
    ] = None,
) -> None:
    """Begin a version of your own with a copy of another."""
    if prompts is None and not HERE.is_dir():
        raise UsageError("There is no ./prompts here; name the directory to write to by --prompts.")
    directory = prompts or HERE
    if directory.exists() and not directory.is_dir():
        raise UsageError(f"{directory} is no directory; name another to write to by --prompts.")
    texts = draft_version(name, parent, directory)
    folder = directory / name
    folder.mkdir(parents=True)  # fails where somebody else has begun it meanwhile
    for file, text in texts.items():
        (folder / file).write_bytes(text.encode())
    show(
        f"{folder} holds a copy of {parent}; write title and why in prompt.toml, change what is to "
        f"be different, and look at it with\n{COMMAND} show {name} --prompts {directory}\n"
        f"When it is final, {COMMAND} lock {name} --prompts {directory}"
    )


@prompts_app.command("diff")
def diff_command(one: NameArgument, other: NameArgument, prompts: DirectoryOption = None) -> None:
    """What is different in OTHER, file by file."""
    lines = diff_versions(one, other, prompts)
    if not lines:
        show(f"{one} and {other} are equal.")
    console = Console(soft_wrap=True)
    for line in lines:
        is_name = line.startswith(("---", "+++"))
        style = "bold" if is_name else _COLOURS.get(line[:1], "")
        console.print(Text(line, style))


@prompts_app.command("check")
def check_command(prompts: DirectoryOption = None, as_json: JsonOption = False) -> None:
    """Try every version: its lock, its parent, its few-shots, and its template with sample rows."""
    wrong = {
        name: problem for name in list_names(prompts) if (problem := find_problem(name, prompts))
    }
    problems = [*wrong.values(), *find_lost(prompts)]
    listed = list_prompts(prompts)
    if as_json:
        checked = [asdict(each) | {"problem": wrong.get(each.name)} for each in listed]
        show({"prompts": checked, "problems": problems})
    else:
        show(
            align(
                (each.name, each.state, "wrong" if each.name in wrong else "ok") for each in listed
            )
        )
    if problems:
        raise UsageError("\n".join(problems))


@prompts_app.command("lock")
def lock_command(
    name: NameArgument,
    prompts: Annotated[Path, typer.Option(help="Directory of your own versions.")],
) -> None:
    """Release a version of your own: from now on its files must not change."""
    check_prompt(name, prompts)
    lock = lock_version(name, prompts)
    with write_atomically(prompts / LOCK) as file:
        file.write(write_lock(lock).encode())
    show(f"{name} is locked in {prompts / LOCK}, with hash {lock[name].hash}.")


def find_problem(name: str, directory: Path | None) -> str | None:
    """What is wrong with a version, or None."""
    try:
        check_prompt(name, directory)
    except UsageError as error:
        return str(error)
    return None


def find_material(line: int | None, data: Path | None) -> tuple[Material | None, str]:
    """The rows to show a prompt with, and which they are."""
    if line is None and data is None:
        return None, "sample rows"
    if line is None or data is None:
        raise UsageError(
            "--row and --data go together: the line of a row, and the dataset it is in."
        )
    group = find_group(data, line)
    lines = " and ".join(str(row.line) for row in group.rows)
    about = f"lines {lines} of {data}, cosine {group.similarity:.3f}"
    merged = compose(group.rows)
    poorer = merged._replace(output=group.rows[0].output)
    return Material(group.rows, merged, poorer, (group.rows[1].output,)), about


def find_schema(files: PromptFiles) -> str:
    """The JSON schema of the replies to a version, empty where it has none."""
    schema = files.texts.get(files.manifest.files.schema_)
    return orjson.dumps(orjson.loads(schema)).decode() if schema else ""


def count_tokens(turns: Sequence[Message]) -> int:
    """About how many tokens the prompt has by these turns."""
    return sum(TOKENS_PER_MESSAGE + estimate_tokens(turn.content) for turn in turns)


def describe(facts: dict[str, Any]) -> str:
    """The facts of a version as lines."""
    tokens = facts["tokens"]
    chosen = facts["parameters"].items()
    rows = [
        ("version", f"{facts['name']}, {facts['state']}, {facts['folder']}"),
        ("hash", facts["hash"]),
        ("title", facts["title"]),
        ("parent", facts["parent"] or "none"),
        ("why", facts["why"]),
        ("parameters", ", ".join(f"{key} {value}" for key, value in chosen) or "none"),
        ("shown with", facts["rows"]),
        (
            "tokens",
            f"about {tokens['fixed'] + tokens['rows']:,}: {tokens['fixed']:,} the same for every "
            f"group, {tokens['rows']:,} for these rows",
        ),
    ]
    if tokens["schema"]:
        rows.append(("", f"{tokens['schema']:,} more where the schema is sent as the form"))
    return align(rows)
