"""What a comparison of methods found, in a figure and a sentence."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rankadaptor.comparison import Judgement
from rankadaptor.errors import InputError
from rankadaptor.files import read_json, write_bytes
from rankadaptor.report.markers import update_markers
from rankadaptor.results.pooling import pool_gains
from rankadaptor.results.table import write_gain, write_interval

logger = logging.getLogger(__name__)

Row = Mapping[str, Any]

WORDS = {
    "ours": "Ranks alone, chosen by this package",
    "uniform_started": "Uniform with start and rate tuned",
    "random": "The best of random allocations",
    "paper": "The paper's network",
}
"""Methods that a summary names beside the best."""


def fill_comparison(results: str | Path, *, file: str | Path) -> list[str]:
    """Fill the parts `comparison-JOB` of a document: a job's figure, and what it found in a sentence.

    Args:
        results: The list of rows that `rankadaptor compare` wrote.
        file: The document.

    Returns:
        The names of the parts that changed.

    Raises:
        InputError: If the results or the markers are not sound.
    """
    source, target = Path(results), Path(file)
    rows = read_json(source)
    if not isinstance(rows, list) or not rows:
        raise InputError(f"{source}: not a list of rows. Write it with `rankadaptor compare`.")
    figures = draw_comparisons(rows, results=source, file=target)
    blocks = {
        f"comparison-{job}": f"![Gains over uniform by method]({place})\n\n"
        + describe_comparison([row for row in rows if row["job"] == job])
        for job, place in figures.items()
    }
    return update_markers(target, blocks)


def draw_comparisons(rows: Sequence[Row], *, results: Path, file: Path) -> dict[str, str]:
    """Write a figure a job, and return their places as the document links them."""
    from rankadaptor.plots import plot_comparison, to_png

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
    """Say which method gains most on average, and what ranks alone and the paper's network gain."""
    pooled = pool_methods(rows)
    best = max(pooled, key=lambda name: pooled[name].gain or 0.0)
    settings = len({row["setting"] for row in rows})

    def describe(name: str) -> str:
        judged, own = pooled[name], [row["outcome"] for row in rows if row["method"] == name]
        return (
            f"{write_gain(judged.gain)} nats per token ({write_interval(judged.low, judged.high)}), better "
            f"than uniform in {own.count('better')} and worse in {own.count('worse')}"
        )

    others = [
        f"{WORDS[name]} (`{name}`): {describe(name)}" for name in WORDS if name in pooled and name != best
    ]
    return (
        f"Of {len(pooled)} ways in {settings} settings, at equal adapter parameters and "
        f"{describe_job(rows)}, `{best}` gains most: {describe(best)}. {'. '.join(others)}."
    )


def pool_methods(rows: Sequence[Row]) -> dict[str, Judgement]:
    """Return each method's mean gain over the settings in which every method was judged."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    gains = {(row["setting"], row["method"]): row["gains"] for row in rows if len(row["gains"]) >= 2}
    shared = [
        setting
        for setting in dict.fromkeys(row["setting"] for row in rows)
        if all((setting, method) in gains for method in methods)
    ]
    if not shared:
        return {}
    return {method: pool_gains([gains[setting, method] for setting in shared]) for method in methods}


def describe_job(rows: Sequence[Row]) -> str:
    """Say how many trials a job had, and how long trials and recoveries were."""
    shown = [
        " or ".join(map(str, sorted({row[key] for row in rows})))
        for key in ("trials", "trial_steps", "steps")
    ]
    return "{} trials of {} steps, recoveries of {}".format(*shown)
