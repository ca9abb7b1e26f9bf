from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mergeit_async.config import Settings, build_settings
from mergeit_async.data.dataset import dataset_digest
from mergeit_async.engine.identity import Identity, identify
from mergeit_async.engine.prices import PriceSheet
from mergeit_async.engine.run_dir import Record, RunDir, Stamp, dataset_now
from mergeit_async.errors import UsageError

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
PATHS = TEXT.map(lambda name: Path("/data") / name.replace("\0", ""))
COUNTS = st.none() | st.integers(1, 10_000)


@st.composite
def all_settings(draw: st.DrawFn) -> Settings:
    """Any settings; every field that may be None is None now and then."""
    return Settings(
        dataset=draw(PATHS),
        columns=draw(st.dictionaries(st.sampled_from(["instruction", "output"]), TEXT)),
        embedder=draw(st.sampled_from(["wordllama", "minilm:/models/x", "/data/v.npy"])),
        clustering=draw(st.sampled_from(["smoothed", "kmeans"])),
        selection=draw(st.sampled_from(["global", "cosine", "euclidean"])),
        pairing=draw(st.sampled_from(["absorb", "best_first", "first_match"])),
        threshold=draw(st.none() | st.floats(-1, 1)),
        max_group_size=draw(st.integers(2, 16)),
        seed=draw(st.integers(0, 2**32 - 1)),
        model=draw(TEXT.filter(lambda name: not name.startswith("offline/"))),
        prompts=draw(st.none() | PATHS),
        temperature=draw(st.none() | st.floats(0, 2)),
        timeout_s=draw(st.floats(0.001, 1e6)),
        reuse=draw(st.none() | PATHS),
        base_url=draw(st.sampled_from([("http://a/v1",), ("http://a/v1,rpm=5", "http://b/v1")])),
        hedge=draw(st.booleans()),
        max_cost=draw(st.none() | st.floats(1e-6, 1e6)),
        **draw(st.sampled_from([{}, {"price_in": 0.1, "price_out": 2}])),
        **{
            name: draw(COUNTS)
            for name in ("limit", "topics", "per_cluster", "target_rows", "rpm", "tpm")
        },
    )


RATES = st.floats(0, 1e6)
SHEETS = st.builds(PriceSheet, RATES, RATES, RATES, st.sampled_from(["given", "genai-prices"]))
PRICES = st.dictionaries(
    st.sampled_from(["http://a/v1", "https://b.example:8443/v1"]),
    st.dictionaries(st.sampled_from(["gpt-4o", "org/model.v1 [x]"]), SHEETS),
)


@settings(max_examples=40, deadline=None)
@given(chosen=all_settings(), prices=PRICES)
def test_a_record_is_read_as_it_was_written(tmp_path_factory, chosen, prices):
    run = RunDir(tmp_path_factory.mktemp("run"))
    identity = Identity(
        "dataset",
        chosen.identity(),
        {"merge/v1": "prompt"},
        "vectors",
        {"gate": "gate/1"},
        {"form": "json_schema"},
    )
    record = Record(chosen, identity, Stamp(123, 1_700_000_000_123_456_789), prices)
    run.write_record(record)
    assert run.read_record() == record
    assert run.read_record().identity.fingerprint == identity.fingerprint


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"instruction": "a", "output": "b"}\n')
    return path


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "run")


def record_of(dataset: Path) -> Record:
    settings = build_settings({"dataset": dataset})
    identity = identify(settings, dataset_digest(dataset), None)
    return Record(settings, identity, Stamp.of(dataset))


@pytest.mark.parametrize(
    "content",
    [
        b"settings = ",
        b"\xff\xfe",
        b"settings = 'all of them'\n",
        b"[settings]\ndataset = 'rows.jsonl'\n",
        b"[settings]\ndataset = 'rows.jsonl'\n[identity]\ncolour = 'red'\n[stamp]\n",
        b"[settings]\n",
        b"[settings]\ndataset = 'rows.jsonl'\ncolour = 'red'\n",
    ],
)
def test_a_damaged_record_is_refused_by_name(run, content):
    run.path.mkdir()
    run.record.write_bytes(content)
    with pytest.raises(UsageError, match=r"run\.toml"):
        run.read_record()


def test_a_finished_run_is_not_begun_again(run, dataset):
    run.create(record_of(dataset))
    run.merged.touch()
    with pytest.raises(UsageError, match=f"a finished run; .* resume {run.path}"):
        run.create(record_of(dataset))


def test_a_directory_that_holds_only_a_lock_is_free(run, dataset):
    with run.locked():
        run.create(record_of(dataset))


@pytest.mark.parametrize("inside", [False, True])
def test_a_file_where_the_directory_should_be_is_refused(dataset, inside):
    run = RunDir(dataset / "run" if inside else dataset)
    with pytest.raises(UsageError, match=f"{run.path}.*; choose"):
        run.create(record_of(dataset))


def test_only_one_may_work_on_a_run_at_a_time(run):
    with (
        run.locked(),
        pytest.raises(UsageError, match=f"Another process is working on {run.path}"),
        run.locked(),
    ):
        pass
    with run.locked():
        pass


def test_what_a_killed_process_had_begun_to_write_is_cleared_and_nothing_else(run):
    topics = run.plan.path / "topics"
    topics.mkdir(parents=True)
    whole = [run.merged, topics / "000000.npz", run.path / "notes.tmp"]
    begun = [run.path / ".0f.tmp", topics / ".1e.tmp"]
    for path in whole + begun:
        path.write_text("some bytes")
    run.clear_leftovers()
    assert sorted(path for path in run.path.rglob("*") if path.is_file()) == sorted(whole)


def fill(run: RunDir, dataset: Path) -> None:
    """All that a run may have written when its input turns out to be unusable."""
    run.create(record_of(dataset))
    with run.locked():
        for path in (run.journal, run.rejected, run.plan.rows):
            path.write_text("some bytes")


def test_a_run_that_cannot_begin_is_discarded_without_a_trace(run, dataset):
    fill(run, dataset)
    run.discard()
    assert not run.path.exists()


def test_discarding_a_run_removes_only_files_of_ours(run, dataset):
    fill(run, dataset)
    (run.path / "thesis.txt").write_text("years of work")
    run.discard()
    assert [path.name for path in run.path.iterdir()] == ["thesis.txt"]


def test_a_dataset_of_the_same_size_and_time_is_not_read_again(run, dataset):
    begun = record_of(dataset)
    dataset.write_bytes(dataset.read_bytes().replace(b"b", b"c"))
    os.utime(dataset, ns=(0, begun.stamp.mtime_ns))
    assert dataset_now(run, begun, dataset) == begun.identity.dataset
    os.utime(dataset, ns=(0, 0))
    assert dataset_now(run, begun, dataset) == dataset_digest(dataset) != begun.identity.dataset


def test_a_dataset_that_was_only_touched_is_the_same(run, dataset):
    begun = record_of(dataset)
    os.utime(dataset, (0, 0))
    assert dataset_now(run, begun, dataset) == begun.identity.dataset


def test_a_dataset_that_is_gone_matters_only_until_its_rows_are_stored(run, dataset):
    begun = record_of(dataset)
    run.create(begun)
    dataset.unlink()
    with pytest.raises(UsageError, match=r"rows\.jsonl does not exist"):
        dataset_now(run, begun, dataset)
    run.plan.rows.touch()
    assert dataset_now(run, begun, dataset) == begun.identity.dataset
