"""Results of commands as text for a terminal."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from textwrap import shorten

from mergeit_async.engine.estimate import Estimate, Range
from mergeit_async.engine.export import Summary
from mergeit_async.engine.portraits import TopicPortrait
from mergeit_async.engine.preview import Preview
from mergeit_async.engine.run_dir import RunDir
from mergeit_async.engine.status import RunStatus
from mergeit_async.viewer.progress import dollars, duration

TOPICS_SHOWN = 5
EXAMPLE_WIDTH = 60


def summary_text(summary: Summary, run: RunDir) -> str:
    """What became of the input, and where the files are."""
    rows = [
        ("rows in", f"{summary.rows_in:,}", ""),
        ("topics", f"{summary.topics:,}", ""),
        ("groups", f"{summary.groups:,}", f"{summary.merged_groups:,} became one row each"),
        ("merged", f"{summary.merged:,}", f"rows, into {summary.merged_groups:,}"),
        ("kept", f"{summary.kept:,}", "rows as they were"),
        *counted("because", summary.reasons),
        ("filtered", f"{summary.filtered:,}", "rows: repeats, or left out by thinning"),
        ("rejected", f"{summary.rejected:,}", "records that cannot be used"),
        ("rows out", f"{summary.rows_out:,}", share(summary)),
    ]
    files = [
        (run.merged, "the dataset"),
        (run.lineage, "where each of its rows comes from"),
        (run.filtered, "rows left out, with reasons"),
        (run.rejected, "records not usable, with file, line and reason"),
    ]
    text = align(rows) + "\n\n" + align((str(path), what) for path, what in files)
    if summary.failed_groups:
        text += (
            f"\n\n{summary.failed_groups:,} groups got no usable answer (`status` says why); their "
            f"rows were kept. Try them again with\n{resume_command(run)} --retry-failed"
        )
    return text


def preview_text(preview: Preview) -> str:
    """What a run would do."""
    rows = [
        ("rows", f"{preview.rows:,}", f"and {preview.rejected:,} records that cannot be used"),
        ("topics", f"{preview.topics:,}", ""),
        ("selected", f"{preview.selected:,}", "rows whose content goes on"),
        ("groups", f"{preview.groups:,}", f"of {preview.grouped_rows:,} rows"),
        ("rows out", f"{preview.least_rows_out:,}", "if every group is merged"),
        *topic_rows(preview.portraits),
    ]
    if preview.estimate is None:
        return align([*rows, ("calls", "0", "offline/compose asks no model")])
    return align(rows + estimate_rows(preview.estimate, preview.unpriced))


def estimate_rows(estimate: Estimate, unpriced: Sequence[str]) -> list[tuple[str, str, str]]:
    """Calls, tokens, money and time as ranges; the money without that of `unpriced` servers."""
    cost = estimate.cost_usd
    left_out = f"; there is none for {', '.join(unpriced)}" if unpriced else ""
    too_large = [("too large", f"{estimate.too_large:,}", "groups above --tpm; they would fail")]
    return [
        *(too_large if estimate.too_large else []),
        ("calls", numbers(estimate.calls), "every first reply accepted, to all attempts used"),
        ("tokens in", numbers(estimate.prompt_tokens), "estimated from the text"),
        ("tokens out", numbers(estimate.completion_tokens), "as long as the sources, to the limit"),
        (
            "cost",
            f"{dollars(cost.low)} – {dollars(cost.high)}" if cost else "unknown",
            f"at the prices known{left_out}" if cost else "no list price for that server and model",
        ),
        (
            "time",
            f"{duration(estimate.seconds.low)} – {duration(estimate.seconds.high)}",
            "100 to 25 tokens a second for each call",
        ),
    ]


def status_text(status: RunStatus, run: RunDir) -> str:
    """A run as it stands."""
    text = align(status_rows(status, run))
    if status.state == "stopped":
        text += f"\n\nGo on with\n{resume_command(run)}"
    return text


def status_rows(status: RunStatus, run: RunDir) -> list[tuple[str, str, str]]:
    """A run as it stands, a line for each number."""
    return [
        ("state", status.state, str(run.path)),
        ("model", status.model, ""),
        ("topics", f"{status.topics_planned:,}", "planned"),
        *topic_rows(status.portraits),
        *counted("groups", status.groups),
        *counted("because", status.reasons),
        *counted("calls", status.calls),
        *tokens_rows(status),
        *money_rows(status),
    ]


def topic_rows(portraits: Sequence[TopicPortrait]) -> list[tuple[str, str, str]]:
    """The largest topics: their sizes, words, and a typical row of each."""
    largest = sorted(portraits, key=lambda portrait: -portrait.rows)[:TOPICS_SHOWN]
    return [
        ("the largest" if place == 0 else "", f"{portrait.rows:,}", portrayed(portrait))
        for place, portrait in enumerate(largest)
    ]


def portrayed(portrait: TopicPortrait) -> str:
    """A topic's words, and how its most typical row begins."""
    words = ", ".join(portrait.words) or "(no words)"
    return f"{words}: {shorten(portrait.typical[0].text, EXAMPLE_WIDTH, placeholder='…')}"


def tokens_rows(status: RunStatus) -> list[tuple[str, str, str]]:
    """The tokens that the server reported."""
    counts = f"{status.prompt_tokens:,} in, {status.completion_tokens:,} out"
    cached = f"reported; {status.cached_tokens:,} in from the server's cache"
    return [("tokens", counts, cached if status.cached_tokens else "reported")]


def money_rows(status: RunStatus) -> list[tuple[str, str, str]]:
    """What was spent, and what may be paid for twice."""
    rows = []
    if status.spent_usd is not None:
        cap = f"of at most {dollars(status.max_cost_usd)}" if status.max_cost_usd else ""
        rows.append(("spent", dollars(status.spent_usd), cap))
        if status.reserved_usd:
            rows.append(("reserved", dollars(status.reserved_usd), "for calls in flight, at most"))
    if unknown := status.unknown_calls:
        at_most = f", at most {dollars(status.unknown_usd)}" if status.unknown_usd else ""
        rows.append(("in doubt", f"{len(unknown):,}", f"calls possibly billed twice{at_most}"))
    return rows


def resume_command(run: RunDir) -> str:
    """The command line that goes on with a run."""
    return f"python -m mergeit_async resume {shlex.quote(str(run.path))}"


def counted(label: str, counts: Mapping[str, int]) -> list[tuple[str, str, str]]:
    """One line a count, the label on the first."""
    return [
        (label if place == 0 else "", f"{count:,}", name)
        for place, (name, count) in enumerate(counts.items())
    ]


def numbers(range_: Range) -> str:
    """A range of whole numbers."""
    return f"{range_.low:,.0f} – {range_.high:,.0f}"


def share(summary: Summary) -> str:
    """The size of the result as a share of the input."""
    return f"{summary.rows_out / summary.rows_in:.1%} of the rows in" if summary.rows_in else ""


def align(rows: Iterable[tuple[str, ...]]) -> str:
    """Columns padded to their widest cell."""
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in table
    )
    return "\n".join(line.rstrip() for line in lines)
