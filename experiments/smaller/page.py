"""The document on smaller adapters of the same quality, written from the rows of their search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.rows import read_rows
from rankadaptor.files import write_text
from rankadaptor.report.markers import update_markers
from rankadaptor.results.table import Table, write_count, write_gain, write_interval, write_percent

DOCUMENT = Path("docs/smaller.md")
WORDS = {
    "searched": "Searched adapters need",
    "uniform": "smaller uniform ones",
    "started": "uniform ones with a start and rate of their own",
    "searched_started": "searched ones with both",
}
SHORT = {
    "searched": "ranks found by the multi-objective search",
    "uniform": "a smaller rank everywhere",
    "started": "a smaller rank everywhere, with start and rate tuned",
    "searched_started": "searched ranks with that start and rate",
}
"""What each way is, in a table."""
GOAL = 0.6
"""Share of uniform's parameters that is aimed at, on average over settings."""

Row = Mapping[str, Any]

INTRODUCTION = """\
# Fewer parameters for the same quality

Written from the result file of `python -m experiments.smaller experiments/smaller/smaller.yaml`; not edited
by hand.

How small may an adapter be and still not be worse than a uniform one? Trials of all sizes teach the
predictor, NSGA-II draws its front of loss against parameters, and full recoveries, paired with uniform on
fresh seeds, halve the interval of sizes. *Not worse* has to be shown: the interval of the gain must lie
above minus a margin, by default 2 % of what uniform wins back. Every size that passed is recovered again on
seeds that had no part in finding it, the largest first, until one does not hold; only what holds there counts
as saved. `uniform` is the same bisection over smaller uniform ranks, which needs no search: what a searched
adapter saves beyond it is what the search is worth. `started` is uniform again, with the start (at random or
along the first gradient) and the rate that suit half the budget best, chosen with as many trials as the
search has; `searched_started` are the searched ranks with that start and rate. All are held to uniform as it
is, under the setting's own start and rate.
"""


def write_smaller(rows: Sequence[Row], *, file: Path = DOCUMENT) -> None:
    """Write the document.

    Raises:
        StorageError: If it cannot be written.
    """
    write_text(file, render_smaller(rows))


def fill_smaller(results: str | Path, *, file: str | Path) -> list[str]:
    """Fill the parts `smaller-JOB` of a document: what is left of the size, per way and setting.

    Args:
        results: The list of rows that `python -m experiments.compare` wrote.
        file: The document.

    Returns:
        The names of the parts that changed.

    Raises:
        InputError: If the results or the markers are not sound.
    """
    rows = read_rows(Path(results), command="python -m experiments.compare")
    blocks = {
        f"smaller-{job}": describe_sizes([row for row in rows if row["job"] == job])
        for job in dict.fromkeys(str(row["job"]) for row in rows)
    }
    return update_markers(Path(file), blocks)


def describe_sizes(rows: Sequence[Row]) -> str:
    """Say what the best way needs of uniform's parameters, and show all ways in all settings."""
    settings = list(dict.fromkeys(str(row["setting"]) for row in rows))
    shares = {(row["method"], row["setting"]): row["share"] for row in rows}
    means = {
        method: float(np.mean([shares[method, setting] for setting in settings]))
        for method in WORDS
        if all((method, setting) in shares for setting in settings)
    }
    if not means:
        return "No way has been tried in every setting.\n"
    best = min(means, key=lambda method: means[method])
    ranks = " or ".join(f"r={rank}" for rank in sorted({row["like_uniform"] for row in rows}))
    table = Table(
        name="sizes",
        title="Share of uniform's parameters",
        header=("way", "what it is", *settings, "mean"),
        rows=tuple(
            (
                f"`{method}`",
                SHORT[method],
                *(write_percent(shares[method, setting]) for setting in settings),
                write_percent(mean),
            )
            for method, mean in means.items()
        ),
    )
    return (
        f"To be not worse than uniform {ranks}, shown on seeds that chose nothing, `{best}` needs "
        f"{write_percent(means[best])} of its parameters on average over {len(settings)} settings.\n\n"
        f"{table.to_markdown().rstrip()}"
    )


def render_smaller(rows: Sequence[Row]) -> str:
    """Return the document as Markdown: per job what is left of the size on average, then each setting."""
    parts = [INTRODUCTION]
    for job in dict.fromkeys(row["job"] for row in rows):
        own = [row for row in rows if row["job"] == job]
        ranks = " or ".join(f"r={rank}" for rank in sorted({row["like_uniform"] for row in own}))
        parts += [f"## {job}: beside uniform {ranks}\n", _summarise(own), build_table(own).to_markdown()]
        for setting in dict.fromkeys(str(row["setting"]) for row in own):
            tried = [row for row in own if row["setting"] == setting]
            parts += [f"### {setting}\n", _build_attempts(tried, setting).to_markdown()]
    return "\n".join(parts)


def build_table(rows: Sequence[Row]) -> Table:
    """Return one line per setting and method: the size that held."""
    lines = tuple(
        (
            row["setting"],
            row["method"],
            write_count(row["parameters"]),
            write_percent(row["share_found"]),
            write_percent(row["share"]),
            write_gain(row["gain"]),
            write_interval(row["gain_low"], row["gain_high"]),
            write_gain(-row["margin"]),
            str(row["seeds"]),
            "yes" if row["not_worse"] else "no",
        )
        for row in rows
    )
    return Table(
        name="smaller",
        title="The smallest adapters that are not worse than uniform",
        header=(
            "setting", "method", "parameters", "found", "held", "gain", "95 % interval", "margin",
            "seeds",
            "not worse",
        ),
        rows=lines,
        note="*Found*: smallest share of uniform's parameters that passed on the seeds it was found on. "
        "*Held*: smallest that also passed on fresh seeds, 100 % where they take all of it back, and its "
        "gain there (where all is taken back, that of the largest). Gains and margins in nats per token.",
    )  # fmt: skip


def _summarise(rows: Sequence[Row]) -> str:
    sentences, settings = [], len({row["setting"] for row in rows})
    for method, words in WORDS.items():
        own = [row["share"] for row in rows if row["method"] == method]
        if own:
            fewer = f" (in {len(own)} of them)" if len(own) < settings else ""
            sentences.append(f"{words} {write_percent(float(np.mean(own)))} of uniform's parameters{fewer}")
    over = f"{settings} setting{'s' if settings > 1 else ''}"
    return f"{', '.join(sentences)}, on average over {over} (goal {write_percent(GOAL)}).\n"


def _build_attempts(rows: Sequence[Row], setting: str) -> Table:
    lines = tuple(
        (
            row["method"],
            seeds,
            write_percent(step["share"]),
            write_gain(step["gain"]),
            write_interval(step["gain_low"], step["gain_high"]),
            "not worse" if step["accepted"] else "not shown",
        )
        for row in rows
        for seeds, steps in (("finding", row["attempts"]), ("fresh", row["confirmed"]))
        for step in steps
    )
    header = ("method", "seeds", "share of the budget", "gain", "95 % interval", "verdict")
    return Table(name=f"smaller-{setting}", title=setting, header=header, rows=lines)
