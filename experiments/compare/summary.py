"""The result of a comparison in a figure, a sentence and a short table."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.compare.labels import DESCRIPTIONS, label_method
from experiments.compare.pooling import pool_gains
from experiments.rows import read_rows
from rankadaptor.errors import InputError
from rankadaptor.files import write_bytes
from rankadaptor.report.markers import update_markers
from rankadaptor.results.table import Table, write_gain, write_interval
from rankadaptor.verdict import Judgement

logger = logging.getLogger(__name__)

Row = Mapping[str, Any]

SHOWN = ("ours_started", "uniform_started", "run_default", "ours", "random", "boosted_trees", "paper")
"""Methods that a summary shows besides the best one."""


def fill_comparison(results: str | Path, *, file: str | Path) -> list[str]:
    """Fill the parts `comparison-JOB` of a document: a job's figure and its result.

    Args:
        results: The list of rows that `python -m experiments.compare` wrote.
        file: The document.

    Returns:
        The names of the parts that changed.

    Raises:
        InputError: If the results or the markers are not sound.
    """
    source, target = Path(results), Path(file)
    rows = read_rows(source, command="python -m experiments.compare")
    figures = draw_comparisons(rows, results=source, file=target)
    blocks = {
        f"comparison-{job}": f"![Gains over uniform by method]({place})\n\n"
        + describe_comparison([row for row in rows if row["job"] == job])
        for job, place in figures.items()
    }
    return update_markers(target, blocks)


def draw_comparisons(rows: Sequence[Row], *, results: Path, file: Path) -> dict[str, str]:
    """Write a figure a job, and return their places as the document links them."""
    from experiments.compare.figure import plot_comparison
    from rankadaptor.plots import to_png

    places = {}
    for job in dict.fromkeys(str(row["job"]) for row in rows):
        try:
            figure = plot_comparison([row for row in rows if row["job"] == job])
        except InputError as error:
            logger.info("%s: %s", job, error)
            continue
        path = results.parent / "figures" / f"{results.stem}-{job}.png"
        write_bytes(path, to_png(figure))
        places[job] = Path(os.path.relpath(path, file.parent)).as_posix()
    return places


def describe_comparison(rows: Sequence[Row]) -> str:
    """Say which method gains most on average, if its interval excludes zero, and show it beside `SHOWN`."""
    pooled, shared = pool_methods(rows), list_shared(rows)
    best = max(pooled, key=lambda name: pooled[name].gain or 0.0)
    lines = []
    for name in dict.fromkeys([best, *SHOWN]):
        if name in pooled:
            judged = pooled[name]
            own = [row["outcome"] for row in rows if row["method"] == name and row["setting"] in shared]
            lines.append(
                (
                    label_method(name),
                    DESCRIPTIONS.get(name, ""),
                    write_gain(judged.gain),
                    write_interval(judged.low, judged.high),
                    str(own.count("better")),
                    str(own.count("worse")),
                )
            )
    table = Table(
        name="summary",
        title="Gains over uniform",
        header=("method", "what it does", "mean gain", "95 % interval", "better", "worse"),
        rows=tuple(lines),
    )
    settings = "1 setting" if len(shared) == 1 else f"{len(shared)} settings"
    low = pooled[best].low
    found = f"`{label_method(best)}` gains most" if low is not None and low > 0 else "no gain exceeds chance"
    return (
        f"Of {len(pooled)} methods in {settings}, at equal adapter parameters and "
        f"{describe_job(rows)}, {found}. Gains over uniform in nats per token, on fresh "
        f"seeds; better and worse count settings.\n\n{table.to_markdown().rstrip()}"
    )


def list_shared(rows: Sequence[Row]) -> list[str]:
    """Return the settings in which every method has two paired gains or more."""
    methods = {row["method"] for row in rows}
    judged = {(row["setting"], row["method"]) for row in rows if len(row["gains"]) >= 2}
    return [
        setting
        for setting in dict.fromkeys(str(row["setting"]) for row in rows)
        if all((setting, method) in judged for method in methods)
    ]


def pool_methods(rows: Sequence[Row]) -> dict[str, Judgement]:
    """Return each method's mean gain over the settings in which every method was judged, if there are any."""
    gains = {(row["setting"], row["method"]): row["gains"] for row in rows}
    shared = list_shared(rows)
    return {
        method: pool_gains([gains[setting, method] for setting in shared])
        for method in dict.fromkeys(str(row["method"]) for row in rows)
        if shared
    }


def describe_job(rows: Sequence[Row]) -> str:
    """Say how many trials a job had, and how long trials and recoveries were."""
    shown = [
        " or ".join(map(str, sorted({row[key] for row in rows})))
        for key in ("trials", "trial_steps", "steps")
    ]
    whole = all(row.get("stop") is False for row in rows)
    return "{} trials of {} steps, recoveries of {}".format(*shown) + (
        ", without early stopping" if whole else ""
    )
