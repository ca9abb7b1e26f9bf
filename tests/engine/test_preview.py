from __future__ import annotations

from mergeit_async.config import build_settings
from mergeit_async.engine.preview import preview
from mergeit_async.engine.progress import Progress
from mergeit_async.job import Job
from tests.running import EXAMPLES


async def test_a_preview_tells_what_the_run_then_does(tmp_path):
    settings = build_settings({"dataset": EXAMPLES, "limit": 120, "per_cluster": 10})

    planned = preview(settings, tmp_path / "preview", Progress())
    summary = await Job.begin(settings, tmp_path / "run").run()

    assert planned.rows + planned.rejected == summary.rows_in == 120
    assert (planned.topics, planned.groups) == (summary.topics, summary.groups)
    assert planned.groups == summary.merged_groups >= 5
    assert planned.grouped_rows == summary.merged
    assert planned.selected == summary.merged + summary.kept < planned.rows
    assert planned.least_rows_out == summary.rows_out
    assert planned.estimate is None
