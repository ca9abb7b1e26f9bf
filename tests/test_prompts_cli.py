"""The commands `prompts …` as users meet them."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner, Result

from mergeit_async.errors import UsageError
from mergeit_async.prompts_cli import prompts_app
from mergeit_async.templates.version import load_prompt
from tests.running import EXAMPLES, call, simulated

SHIPPED = Path(__file__).resolve().parents[1] / "prompts"
RIVERS = {"instruction": "Name a long river of Europe.", "input": "", "output": "The Danube."}
WALTZ = {"instruction": "Who wrote the Blue Danube waltz?", "input": "", "output": "Strauss."}
RIVER = {"instruction": "Name the longest river of Europe.", "input": "", "output": "The Volga."}
CODE = {"instruction": "Write a loop in C.", "input": "", "output": "for (;;) {}"}


def prompts(*arguments: object) -> Result:
    """The command in this process; what it raises is raised here."""
    return CliRunner().invoke(prompts_app, [*map(str, arguments)], catch_exceptions=False)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A user's directory with a copy of merge/v2 under the name merge/mine."""
    shutil.copytree(SHIPPED / "merge" / "v2", tmp_path / "own" / "merge" / "mine")
    return tmp_path / "own"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(map(orjson.dumps, (CODE, RIVERS, WALTZ, {"a": 1}, RIVER, RIVERS))))
    return path


def test_versions_are_listed_with_state_hash_and_origin(own: Path) -> None:
    lines = prompts("list", "--prompts", own).stdout.splitlines()
    listed = orjson.loads(prompts("list", "--prompts", own, "--json").stdout)["prompts"]

    assert [line.split()[0] for line in lines] == [each["name"] for each in listed]
    starts = ("merge/mine", "merge/v1")
    mine, v1 = (next(line for line in lines if line.startswith(name)) for name in starts)
    assert mine.split()[1:5] == ["draft", load_prompt("merge/v2").hash[:12], "from", "merge/v1"]
    assert v1.split()[1:3] == ["locked", load_prompt("merge/v1").hash[:12]]


def test_a_version_is_shown_with_sample_rows_and_its_tokens() -> None:
    shown = prompts("show", "merge/v2").stdout

    assert [line for line in shown.splitlines() if line.startswith("--- ")] == [
        "--- system",
        *["--- user", "--- assistant"] * 2,
        "--- user",
    ]
    assert "tokens      about 1,986: 1,817 the same for every group, 169 for these rows" in shown
    assert load_prompt("merge/v2").hash in shown


def test_a_version_is_shown_as_it_is_sent_for_a_row_of_a_dataset(dataset: Path) -> None:
    done = prompts("show", "merge/v3", "--row", 5, "--data", dataset, "--json")

    shown = orjson.loads(done.stdout)
    *_, turn = shown["messages"]
    rows = [orjson.loads(line) for line in turn["content"].splitlines() if line[0] == "{"]
    assert rows == [RIVERS, RIVER]
    assert f"lines 2 and 5 of {dataset}, cosine 0." in shown["rows"]
    assert shown["tokens"]["fixed"] > shown["tokens"]["rows"] > 20


@pytest.mark.parametrize(("line", "lines"), [(2, "lines 2 and 5"), (6, "lines 5 and 6")])
def test_a_repeat_of_the_row_is_not_what_it_is_merged_with(
    dataset: Path, line: int, lines: str
) -> None:
    assert lines in prompts("show", "merge/v3", "--row", line, "--data", dataset).stdout


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--row", 5), "--row and --data go together"),
        (("--row", 4), "line 4: "),
        (("--row", 70), "has no row on line 70; choose another for --row"),
        (("--row", 0), "has no row on line 0"),
    ],
)
def test_a_row_that_is_none_is_named(dataset: Path, options: tuple, complaint: str) -> None:
    given = () if "together" in complaint else ("--data", dataset)
    with pytest.raises(UsageError, match=complaint):
        prompts("show", "merge/v1", *options, *given)


def test_a_row_alone_is_no_group(tmp_path: Path) -> None:
    (tmp_path / "one.jsonl").write_bytes(orjson.dumps(CODE))

    with pytest.raises(UsageError, match="no row beside that on line 1"):
        prompts("show", "merge/v1", "--row", 1, "--data", tmp_path / "one.jsonl")


def test_a_version_is_begun_changed_compared_and_locked(tmp_path: Path) -> None:
    here = ("--prompts", tmp_path)
    prompts("new", "merge/v4", "--from", "merge/v2", *here)
    manifest, system = (tmp_path / "merge/v4" / file for file in ("prompt.toml", "system.md"))
    text = manifest.read_text("utf-8").replace("TODO: ", "")
    manifest.write_text(text, encoding="utf-8")
    system.write_text("Merge.\n", encoding="utf-8")

    assert "+Merge." in prompts("diff", "merge/v2", "merge/v4", *here).stdout.splitlines()
    assert "merge/v4   draft" in prompts("check", *here).stdout
    hash_ = load_prompt("merge/v4", tmp_path).hash
    assert f"hash {hash_}" in prompts("lock", "merge/v4", *here).stdout
    lock = tomllib.loads((tmp_path / "lock.toml").read_text("utf-8"))
    assert lock["merge/v4"]["hash"] == hash_

    system.write_text("Merge!\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"system\.md was changed, and merge/v4 is locked"):
        prompts("show", "merge/v4", *here)
    prompts("new", "merge/v5", "--from", "merge/v4", *here)
    assert load_prompt("merge/v5", tmp_path).preamble[0].content == "Merge!"


def test_a_version_is_begun_in_the_prompts_that_are_here(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"no \./prompts here; name the directory"):
        prompts("new", "merge/v4", "--from", "merge/v1")

    (tmp_path / "prompts").mkdir()
    told = prompts("new", "merge/v4", "--from", "merge/v1").stdout
    assert (tmp_path / "prompts/merge/v4/user.j2").is_file()
    assert "prompts show merge/v4 --prompts prompts\n" in told


def test_nothing_is_overwritten(own: Path) -> None:
    before = {path: path.read_bytes() for path in own.rglob("*") if path.is_file()}

    with pytest.raises(UsageError, match="mine is there already"):
        prompts("new", "merge/mine", "--from", "merge/v1", "--prompts", own)
    assert {path: path.read_bytes() for path in own.rglob("*") if path.is_file()} == before


def test_a_file_is_no_directory_to_write_to(dataset: Path) -> None:
    with pytest.raises(UsageError, match=r"rows\.jsonl is no directory"):
        prompts("new", "merge/v4", "--from", "merge/v1", "--prompts", dataset)


def test_equal_versions_are_said_to_be_equal(own: Path) -> None:
    told = prompts("diff", "merge/v2", "merge/mine", "--prompts", own).stdout

    assert told == "merge/v2 and merge/mine are equal.\n"


def test_a_check_tells_everything_that_is_wrong(own: Path) -> None:
    shutil.copytree(own / "merge" / "mine", own / "merge" / "other")
    (own / "merge/mine/user.j2").write_text("{{ colour }}", encoding="utf-8")
    (own / "merge/other/fewshots.jsonl").write_text("{}", encoding="utf-8")

    done = call("prompts", "check", "--prompts", own, "--json")

    assert done.returncode == 2
    checked = orjson.loads(done.stdout)
    assert len(checked["problems"]) == 2
    wrong = {each["name"]: each["problem"] for each in checked["prompts"] if each["problem"]}
    assert wrong.keys() == {"merge/mine", "merge/other"}
    assert "'colour' is undefined" in wrong["merge/mine"]
    assert all(problem in done.stderr for problem in wrong.values())


def test_a_check_tells_locked_versions_that_are_gone(own: Path) -> None:
    lock = '["merge/gone"]\nhash = "0"\n["merge/gone".files]\n'
    (own / "lock.toml").write_text(lock, encoding="utf-8")

    with pytest.raises(UsageError, match=r"lock\.toml has merge/gone, and .* is gone"):
        prompts("check", "--prompts", own)


def test_the_shipped_versions_pass_the_check() -> None:
    done = call("prompts", "check")

    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[1:] for line in done.stdout.splitlines()] == [["locked", "ok"]] * 6


def test_a_version_that_is_damaged_is_not_locked(own: Path) -> None:
    (own / "merge/mine/user.j2").write_text("{{ colour }}", encoding="utf-8")

    with pytest.raises(UsageError, match="'colour' is undefined"):
        prompts("lock", "merge/mine", "--prompts", own)
    assert not (own / "lock.toml").exists()


# Bad input: exit 2 and one sentence, before a run begins.


@pytest.mark.parametrize(
    ("file", "text", "options", "complaint"),
    [
        (None, "", ("--prompt", "merge/v22"), "does not exist (did you mean merge/v2?)"),
        (None, "", ("--prompt", "merge"), "is not a name of the form task/version"),
        (None, "", ("--judge", "m", "--judge-prompt", "judge/v2"), "judges a pair of rows"),
        ("merge/mine/user.j2", "{{ colour }}", (), "user.j2, line 1: 'colour' is undefined"),
        ("merge/mine/user.j2", None, (), "user.j2 is missing"),
        ("merge/mine/prompt.toml", "title = ", (), "prompt.toml is not valid TOML"),
        (
            "merge/mine/fewshots.jsonl",
            '{"sources": [], "merged": {}}',
            (),
            "fewshots.jsonl, line 1",
        ),
        ("lock.toml", '["merge/mine"]\nhash = "0"\n["merge/mine".files]\n', (), "is locked in"),
    ],
)
def test_a_run_with_a_prompt_that_cannot_be_used_does_not_begin(
    own: Path, tmp_path: Path, file: str | None, text: str | None, options: tuple, complaint: str
) -> None:
    if file and text is None:
        (own / file).unlink()
    elif file and text is not None:
        (own / file).write_text(text, encoding="utf-8")
    prompt = () if "--prompt" in options else ("--prompt", "merge/mine")
    server = ("--model", "m", "--base-url", "http://127.0.0.1:9/v1", "--prompts", own)

    done = call("run", EXAMPLES, "--out", tmp_path / "run", *server, *prompt, *options)

    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert complaint in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("prompt", ["merge/v2", "merge/v3"])
@pytest.mark.parametrize("form", ["json_schema", "json_object", "text"])
def test_a_run_accepts_merges_of_each_prompt_in_each_form(
    tmp_path: Path, prompt: str, form: str
) -> None:
    with simulated() as server:
        options = ("--model", "sim-merge", "--base-url", server.url, "--structured-output", form)
        done = call("run", EXAMPLES, "--out", tmp_path, *options, "--prompt", prompt, "--json")

    assert done.returncode == 0, done.stderr
    summary = orjson.loads(done.stdout)
    assert summary["groups"] == summary["merged_groups"] > 3
    lines = (tmp_path / "lineage.jsonl").read_bytes().splitlines()
    merged = next(line for line in map(orjson.loads, lines) if line["kind"] == "merged")
    assert merged["prompts"][prompt] == load_prompt(prompt).hash
