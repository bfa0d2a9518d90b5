"""The document on the comparison of methods, written from its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.compare.benchmark_tables import average_benchmarks, write_difference
from experiments.compare.labels import DESCRIPTIONS, RUN_DEFAULT, label_method
from experiments.compare.summary import describe_job, draw_comparisons, list_shared, pool_methods
from rankadaptor.files import write_text
from rankadaptor.results.table import (
    Table,
    write_count,
    write_gain,
    write_interval,
    write_loss,
    write_percent,
)

DOCUMENT = Path("docs/comparison.md")

Row = Mapping[str, Any]

REFERENCE = "random"
"""This method spends exactly its trials."""
NEGLIGIBLE = 0.005


def write_comparison(rows: Sequence[Row], *, results: Path, file: Path = DOCUMENT) -> None:
    """Write the document, and its figures into `figures/` beside the results.

    Args:
        rows: Of all jobs.
        results: The file of rows; figures are named after it and the job.
        file: The document.

    Raises:
        StorageError: If something cannot be written.
    """
    write_text(file, render_comparison(rows, figures=draw_comparisons(rows, results=results, file=file)))


def render_comparison(rows: Sequence[Row], *, figures: Mapping[str, str] | None = None) -> str:
    """Return the document as Markdown: averages over settings first, then each setting.

    Args:
        rows: Of all jobs.
        figures: Places of the figures by job.
    """
    parts = [
        "# Methods of choosing ranks, compared\n",
        "Written from the result file of `python -m experiments.compare`; not edited by hand. "
        "All methods have at most uniform's adapter parameters and may train on the same number of tokens "
        "to make their choice. The tables show the tokens that each trained on or read; forward passes that "
        "only score are counted unless they are part of a trial. "
        "Every choice is recovered in full on fresh seeds, paired with uniform. Choice and judgement "
        "use the same held-out text, so gains on other text may be slightly smaller.\n",
        describe_methods(rows),
    ]
    for job in dict.fromkeys(row["job"] for row in rows):
        own = [row for row in rows if row["job"] == job]
        parts.append(f"## {job}: {describe_job(own)}\n")
        if figures and job in figures:
            parts.append(f"![Gains over uniform by method]({figures[job]})\n")
        parts.append(average_methods(own).to_markdown())
        if (benchmarks := average_benchmarks(own)) is not None:
            parts += ["### Benchmarks\n", benchmarks.to_markdown()]
        for setting in sorted({str(row["setting"]) for row in own}):
            table = build_table([row for row in own if row["setting"] == setting], setting)
            parts += [f"### {setting}\n", table.to_markdown()]
    return "\n".join(parts)


def describe_methods(rows: Sequence[Row]) -> str:
    """Return a table of the methods: key in job files, label here, and what each does."""
    measured = {str(row["method"]) for row in rows}
    table = Table(
        name="labels",
        title="Methods",
        header=("method", "key", "what it does"),
        rows=tuple((label_method(key), f"`{key}`", text) for key, text in DESCRIPTIONS.items()),
    )
    missing = (
        ""
        if RUN_DEFAULT in measured
        else " The rows below were measured before this method was added: none of "
        "them is the default search. `ranks: two stages` uses the same predictor, with another acquisition "
        "function, and measures its finalists again."
    )
    return (
        f"## Methods\n\n`{label_method(RUN_DEFAULT)}` is the search that `rankadaptor run` does by "
        f"default.{missing}\n\n{table.to_markdown()}"
    )


def average_methods(rows: Sequence[Row]) -> Table:
    """Return one line per method: its mean gain over all settings, wins and losses, and cost."""
    methods = dict.fromkeys(row["method"] for row in rows)
    settings, shared = {row["setting"] for row in rows}, set(list_shared(rows))
    lines, pooled = [], pool_methods(rows)
    for method in methods:
        usable = [row for row in rows if row["method"] == method and row["gain"] is not None]
        own = [row for row in usable if not shared or row["setting"] in shared]
        if not own:
            continue
        extra = [row["extra_regained"] for row in own if row["extra_regained"] is not None]
        lines.append(
            (
                label_method(method),
                str(len(own)),
                write_gain(float(np.mean([row["gain"] for row in own]))),
                write_interval(pooled[method].low, pooled[method].high) if method in pooled else "–",
                write_percent(float(np.mean(extra)) if extra else None),
                str(sum(row["outcome"] == "better" for row in own)),
                str(sum(row["outcome"] == "worse" for row in own)),
                write_count(float(np.mean([row["cost_tokens"] for row in own]))),
                write_count(float(np.mean([row["cost_seconds"] for row in own]))),
                write_count(float(np.mean([row["recovery_seconds"] for row in own]))),
            )
        )
    return Table(
        name="methods",
        title=f"Mean over the {len(shared)} of {len(settings)} settings in which every method has a result",
        header=(
            "method",
            "settings",
            "gain",
            "interval",
            "more regained",
            "better",
            "worse",
            "tokens to choose",
            "seconds to choose",
            "of recoveries",
        ),
        rows=tuple(lines),
        note=_describe_settings(len(shared), len(settings))
        + " Gains in nats per token of held-out text, positive is better than uniform; the 95 % interval of "
        "the mean holds for these settings. *More regained*: "
        "the gain as a share of the loss that recovery with uniform ranks wins back. *Better*, *worse*: "
        "settings whose interval excludes zero. *Seconds*: wall-clock time of the trials, and "
        "of the full recoveries on all seeds, on a machine with other load." + _describe_excess(rows),
    )


def _describe_excess(rows: Sequence[Row]) -> str:
    """Say by how much the most expensive choice exceeds the tokens of random trials in its setting."""
    whole = {row["setting"]: row["cost_tokens"] for row in rows if row["method"] == REFERENCE}
    shares = [
        (row["cost_tokens"] / whole[row["setting"]] - 1.0, row["method"], row.get("initialisation"))
        for row in rows
        if whole.get(row["setting"])
    ]
    excess, method, start = max(shares, key=lambda share: share[0], default=(0.0, "", None))
    if excess < NEGLIGIBLE:
        return ""
    why = ": a gradient initialisation reads 64 more rows" if start == "gradient" else ""
    return (
        f" The most expensive choice (`{label_method(method)}`) took {write_percent(excess)} more tokens "
        f"than the trials of `{label_method(REFERENCE)}` in its setting{why}."
    )


def _describe_settings(shared: int, settings: int) -> str:
    if not shared:
        return f"None of the {settings} settings has a result of every method: means are over different ones."
    return f"Means over the {shared} of {settings} settings in which every method has a result."


def build_table(rows: Sequence[Row], setting: str) -> Table:
    """Return one line per method of one setting."""
    lines = tuple(
        (
            label_method(row["method"]) + (" (= uniform)" if _is_same(row) else ""),
            write_loss(row["loss"]),
            write_gain(row["gain"]),
            write_interval(row["gain_low"], row["gain_high"]),
            row["outcome"],
            write_count(row["parameters"]),
            write_count(row["cost_tokens"]),
            write_difference(row),
        )
        for row in rows
    )
    return Table(
        name=f"methods-{setting}",
        title=setting,
        header=(
            "method",
            "loss",
            "gain",
            "interval",
            "verdict",
            "parameters",
            "tokens to choose",
            "accuracy",
        ),
        note="*Accuracy*: mean over the benchmarks minus uniform's, in points, with the standard error."
        if any(row["benchmarks"] for row in rows)
        else "",
        rows=lines,
    )


def _is_same(row: Row) -> bool:
    return bool(row["equals_uniform"]) and row["method"] != "uniform"
