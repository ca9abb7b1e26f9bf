from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from mergeit_async.config import build_settings
from mergeit_async.data.dataset import dataset_digest
from mergeit_async.engine.identity import Identity, identify
from mergeit_async.engine.plan_folder import PlannedTopic
from mergeit_async.engine.planner import Planner
from mergeit_async.engine.progress import Progress
from mergeit_async.engine.run_dir import RunDir
from mergeit_async.errors import UsageError

N_ROWS = 60


def record(number: int, **fields: Any) -> dict[str, Any]:
    return {"instruction": f"Say {number}.", "input": "", "output": f"{number}."} | fields


def write_dataset(path: Path, *records: Mapping[str, Any]) -> Path:
    path.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))
    return path


class Given:
    """A dataset, its vectors in three clear topics, and planners over them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.dataset = write_dataset(folder / "rows.jsonl", *map(record, range(N_ROWS)))
        self.vectors = folder / "vectors.npy"
        self.write_vectors(seed=1)

    def write_vectors(self, seed: int) -> None:
        dice = np.random.default_rng(seed)
        centres = 3 * np.eye(8)[np.arange(N_ROWS) % 3]
        np.save(self.vectors, centres + dice.normal(size=(N_ROWS, 8)))

    def identity(self, **changes: Any) -> Identity:
        return identify(self.settings(**changes), dataset_digest(self.dataset), None)

    def settings(self, **changes: Any) -> Any:
        flags = {"dataset": self.dataset, "embedder": str(self.vectors), "threshold": 0.5}
        return build_settings(flags | {"topics": 3} | changes)

    def planner(
        self, run: str = "run", identity: Identity | None = None, **changes: Any
    ) -> Planner:
        found = RunDir(self.folder / run)
        found.plan.path.mkdir(parents=True, exist_ok=True)
        settings = self.settings(**changes)
        return Planner(found, settings, identity or self.identity(**changes), Progress())

    def files(self, run: str = "run") -> dict[str, Path]:
        plan = self.folder / run / "plan"
        files = [path for path in plan.rglob("*") if path.is_file() and path.suffix != ".json"]
        return {str(path.relative_to(plan)): path for path in files}


@pytest.fixture
def given(tmp_path: Path) -> Given:
    return Given(tmp_path)


def content(topics: list[PlannedTopic]) -> list[tuple[Any, ...]]:
    return [
        (topic.first_position, topic.rows.tolist(), topic.selected.tolist(), *topic.groups)
        for topic in topics
    ]


TOPICS = {f"topics/00000{number}.npz" for number in range(3)}
LABELS = TOPICS | {"labels.npy"}
VECTORS = LABELS | {"vectors.npy"}
ALL = VECTORS | {"rows.arrow"}


PAPER = {"clustering": "kmeans", "selection": "euclidean", "pairing": "first_match"}


@pytest.mark.parametrize("how", [{}, {"pairing": "best_first"}, PAPER])
def test_a_plan_is_made_of_disjoint_groups_whose_positions_leave_no_gap(given, how):
    topics = list(given.planner(per_cluster=12, max_group_size=3, **how).topics())
    groups = [group for topic in topics for group in topic.groups]
    assert len(topics) == 3
    assert len(groups) > 6
    assert [group.position for group in groups] == list(range(len(groups)))
    assert [topic.first_position for topic in topics if topic.groups] == [
        topic.groups[0].position for topic in topics if topic.groups
    ]
    grouped = [row for group in groups for row in group.rows]
    assert len(set(grouped)) == len(grouped)
    selected = {row for topic in topics for row in topic.selected.tolist()}
    assert set(grouped) <= selected
    assert len(selected) == 36 if how else len(selected) > 36
    for topic in topics:
        assert set(topic.selected.tolist()) <= set(topic.rows.tolist())
    assert sorted(row for topic in topics for row in topic.rows.tolist()) == list(range(N_ROWS))


def test_a_group_across_topics_is_of_the_first_rows_topic_and_the_others_lend_theirs(given):
    close = np.radians([0, 2, 90, 50, 48, 180])
    np.save(given.vectors, np.stack([np.cos(close), np.sin(close)], axis=1))
    write_dataset(given.dataset, *map(record, range(6)))
    planner = given.planner(topics=3, threshold=0.99, clustering="kmeans")
    planner.labels = lambda _: np.array([0, 1, 1, 0, 2, 2], np.int32)

    topics = list(planner.topics())

    assert [[group.rows for group in topic.groups] for topic in topics] == [
        [(0, 1), (3, 4)],
        [],
        [],
    ]
    assert [topic.lent.tolist() for topic in topics] == [[], [1], [4]]
    assert [topic.selected.tolist() for topic in topics] == [[0, 3], [1, 2], [4, 5]]
    assert content(list(given.planner(topics=3, threshold=0.99, clustering="kmeans").topics()))


def test_what_is_saved_is_never_made_again(given):
    identity = given.identity()
    first = content(list(given.planner(identity=identity).topics()))
    for path in given.files().values():
        os.utime(path, (0, 0))
    given.dataset.unlink()
    given.vectors.write_bytes(b"poison")

    second = content(list(given.planner(identity=identity).topics()))

    assert second == first
    assert all(path.stat().st_mtime == 0 for path in given.files().values())


def test_a_plan_that_was_broken_off_goes_on_to_the_plan_of_an_undisturbed_run(given):
    undisturbed = content(list(given.planner("undisturbed").topics()))
    broken_off = given.planner().topics()
    assert content([next(broken_off)]) == undisturbed[:1]
    assert content(list(given.planner().topics())) == undisturbed


def test_what_topics_are_about_is_saved_once_and_after_the_last_topic(given):
    planner = given.planner()
    saved = RunDir(given.folder / "run").plan.portraits
    assert [saved.exists() for _ in planner.topics()] == [False] * 3
    first = saved.read_bytes()
    assert sum(portrait.rows for portrait in planner.portraits()) == N_ROWS
    assert planner.portraits()[0].words[0] == "say"

    saved.unlink()
    again = given.planner().portraits()

    assert saved.read_bytes() == first
    assert again == planner.portraits()
    os.utime(saved, (0, 0))
    list(given.planner().topics())
    assert saved.stat().st_mtime == 0


def test_a_topic_is_durable_when_it_is_handed_over(given):
    planner = given.planner()
    durable = [RunDir(given.folder / "run").plan.count_topics() for _ in planner.topics()]
    assert durable == [1, 2, 3]


@pytest.mark.parametrize(
    ("changes", "remade"),
    [
        ({"model": "m", "max_in_flight": 3, "temperature": 0.7}, set()),
        ({"threshold": 0.6}, TOPICS),
        ({"max_group_size": 4}, TOPICS),
        ({"pairing": "first_match"}, TOPICS),
        ({"per_cluster": 5}, TOPICS),
        ({"target_rows": 10}, TOPICS),
        ({"selection": "cosine"}, TOPICS),
        (PAPER, LABELS),
        ({"seed": 7}, LABELS),
        ({"topics": 2}, LABELS - {"topics/000002.npz"}),
        ({"limit": N_ROWS - 1}, ALL),
        ({"columns": {"output": "output"}}, ALL),
    ],
)
def test_a_changed_setting_remakes_only_the_steps_that_depend_on_it(given, changes, remade):
    list(given.planner().topics())
    for path in given.files().values():
        os.utime(path, (0, 0))

    in_place = content(list(given.planner(**changes).topics()))

    assert {name for name, path in given.files().items() if path.stat().st_mtime != 0} == remade
    assert in_place == content(list(given.planner("anew", **changes).topics()))
    assert given.files().keys() == given.files("anew").keys()


def test_other_contents_and_other_algorithms_remake_what_depends_on_them(given):
    before = given.identity()
    list(given.planner(identity=before).topics())
    given.write_vectors(seed=2)
    for identity, remade in [
        (given.identity(), VECTORS),
        (replace(before, dataset="other"), ALL),
        (replace(before, algorithms={"filtering": "other"}), ALL),
    ]:
        for path in given.files().values():
            os.utime(path, (0, 0))
        list(given.planner(identity=identity).topics())
        touched = {name for name, path in given.files().items() if path.stat().st_mtime != 0}
        assert touched == remade


def test_vectors_belong_to_records_also_where_some_are_rejected_or_repeated(given):
    records = [
        record(0),
        record(1, output=""),  # rejected
        record(2),
        record(0),  # a repeat
        record(4),
        record(5),
    ]
    write_dataset(given.dataset, *records)
    north, east = [0.0, 2.0], [3.0, 0.0]
    np.save(given.vectors, np.array([north, east, east, east, north, east]))
    planner = given.planner(topics=1)

    (topic,) = planner.topics()

    groups = [planner.load_group(group) for group in topic.groups]
    assert [[row.record for row in group.rows] for group in groups] == [[0, 4], [2, 5]]
    assert np.load(given.folder / "run/plan/vectors.npy").tolist() == [[0, 1], [1, 0]] * 2
    rejected = (given.folder / "run/rejected.jsonl").read_bytes().splitlines()
    assert [orjson.loads(line)["record"] for line in rejected] == [1]


@pytest.mark.parametrize(("n_vectors", "limit"), [(59, None), (61, None), (9, 10)])
def test_a_wrong_number_of_vectors_is_refused_with_both_numbers(given, n_vectors, limit):
    np.save(given.vectors, np.ones((n_vectors, 4)))
    with pytest.raises(UsageError, match=rf"vectors\.npy: {n_vectors} vectors .* {limit or 60} "):
        list(given.planner(limit=limit).topics())


def test_a_limit_needs_no_more_vectors_than_it_leaves_records(given):
    (topic,) = given.planner(limit=10, topics=1).topics()
    assert len(topic.rows) == 10


def test_a_dataset_of_rejects_alone_has_an_empty_plan_that_is_merged(given):
    write_dataset(given.dataset, *(record(number, output="") for number in range(N_ROWS)))
    planner = given.planner()
    assert list(planner.topics()) == []
    assert planner.is_merged([])


def test_a_plan_is_merged_when_all_its_groups_have_ended(given):
    planner = given.planner()
    positions = [group.position for topic in planner.topics() for group in topic.groups]
    assert planner.is_merged(positions)
    assert not planner.is_merged(positions[1:])
    assert not planner.is_merged(positions[:-1])


@pytest.mark.parametrize("lost", sorted(LABELS))
def test_a_plan_that_is_not_saved_whole_is_not_merged(given, lost):
    planner = given.planner()
    positions = [group.position for topic in planner.topics() for group in topic.groups]
    given.files()[lost].unlink()
    assert not planner.is_merged(positions)


@pytest.mark.parametrize("how", [{}, PAPER])
def test_fewer_rows_than_topics_are_a_topic_each(given, how):
    topics = list(given.planner(topics=500, **how).topics())
    assert [topic.rows.tolist() for topic in topics] == [[row] for row in range(N_ROWS)]


@pytest.mark.parametrize("how", [{}, PAPER])
def test_rows_that_are_all_equal_are_one_topic_of_pairs(given, how):
    np.save(given.vectors, np.ones((N_ROWS, 8)))
    (topic,) = given.planner(topics=5, per_cluster=10, **how).topics()
    assert len(topic.rows) == N_ROWS
    # Ten rows are kept; ours has each of them absorb another.
    assert len(topic.selected) == (20 if not how else 10)
    assert len(topic.groups) == (10 if not how else 5)


@pytest.mark.parametrize("how", [{}, PAPER])
def test_one_topic_of_all_rows_is_planned_as_any_other(given, how):
    (topic,) = given.planner(topics=1, per_cluster=30, **how).topics()
    assert len(topic.rows) == N_ROWS
    assert len(topic.groups) > 5
    assert topic.lent.tolist() == []
