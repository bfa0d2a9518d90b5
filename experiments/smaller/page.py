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
LABELS = {
    "searched": "ranks",
    "uniform": "uniform",
    "started": "init + rate",
    "searched_started": "init + rate, then ranks",
}
"""Name of each method in tables, by its key in result files."""
DESCRIPTIONS = {
    "searched": "ranks found by the multi-objective search",
    "uniform": "a smaller rank everywhere",
    "started": "a smaller rank everywhere, with initialisation and rate tuned",
    "searched_started": "the searched ranks with this initialisation and rate",
}
"""What each method is, in a table."""
GOAL = 0.6
"""Target share of uniform's parameters, on average over settings."""

Row = Mapping[str, Any]

INTRODUCTION = """\
# Fewer parameters for the same quality

Written from the result file of `python -m experiments.smaller experiments/smaller/smaller.yaml`; not edited
by hand.

How small can an adapter be without being worse than a uniform one? The predictor is trained on trials of all
sizes, NSGA-II draws its front of loss against parameters, and a bisection of the sizes by full recoveries,
paired with uniform on fresh seeds, finds the smallest. *Not worse* has to be shown: the interval of the gain
must lie above minus a margin, by default 2 % of the loss that uniform ranks win back. Every size that passed
is recovered again on seeds that were not used to find it, from the largest down to the first that fails; only
sizes that pass there count. All are compared with uniform ranks under the setting's own initialisation and
rate.

- `ranks`: searched ranks.
- `uniform`: the same bisection over smaller uniform ranks, which needs no search. The search is worth what
  `ranks` saves beyond it.
- `init + rate`: smaller uniform ranks, with the initialisation (random or along the first gradient)
  and the learning rate tuned on uniform ranks of half the budget, with as many trials as the search has.
- `init + rate, then ranks`: the searched ranks with this initialisation and rate.
"""


def write_smaller(rows: Sequence[Row], *, file: Path = DOCUMENT) -> None:
    """Write the document.

    Raises:
        StorageError: If it cannot be written.
    """
    write_text(file, render_smaller(rows))


def fill_smaller(results: str | Path, *, file: str | Path) -> list[str]:
    """Fill the parts `smaller-JOB` of a document: the share of uniform's parameters by method and setting.

    Args:
        results: The list of rows that `python -m experiments.smaller` wrote.
        file: The document.

    Returns:
        The names of the parts that changed.

    Raises:
        InputError: If the results or the markers are not sound.
    """
    rows = read_rows(Path(results), command="python -m experiments.smaller")
    blocks = {
        f"smaller-{job}": describe_sizes([row for row in rows if row["job"] == job])
        for job in dict.fromkeys(str(row["job"]) for row in rows)
    }
    return update_markers(Path(file), blocks)


def describe_sizes(rows: Sequence[Row]) -> str:
    """Return the share of uniform's parameters that the best method needs, and a table of all."""
    settings = list(dict.fromkeys(str(row["setting"]) for row in rows))
    shares = {(row["method"], row["setting"]): row["share"] for row in rows}
    means = {
        method: float(np.mean([shares[method, setting] for setting in settings]))
        for method in LABELS
        if all((method, setting) in shares for setting in settings)
    }
    if not means:
        return "No method has been tried in every setting.\n"
    best = min(means, key=lambda method: means[method])
    ranks = " or ".join(f"r={rank}" for rank in sorted({row["like_uniform"] for row in rows}))
    table = Table(
        name="sizes",
        title="Share of uniform's parameters",
        header=("method", "what it is", *settings, "mean"),
        rows=tuple(
            (
                LABELS[method],
                DESCRIPTIONS[method],
                *(write_percent(shares[method, setting]) for setting in settings),
                write_percent(mean),
            )
            for method, mean in means.items()
        ),
    )
    return (
        f"To be not worse than uniform {ranks}, shown on fresh seeds, `{LABELS[best]}` needs "
        f"{write_percent(means[best])} of its parameters on average over {len(settings)} settings.\n\n"
        f"{table.to_markdown().rstrip()}"
    )


def render_smaller(rows: Sequence[Row]) -> str:
    """Return the document as Markdown: the average share per job, then each setting."""
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
    """Return one line per setting and method: the smallest size that passed."""
    lines = tuple(
        (
            row["setting"],
            LABELS.get(str(row["method"]), str(row["method"])),
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
            "setting", "method", "parameters", "found", "confirmed", "gain", "95 % interval", "margin",
            "seeds",
            "not worse",
        ),
        rows=lines,
        note="*Found*: smallest share of uniform's parameters that passed on the seeds of the bisection. "
        "*Confirmed*: smallest share that also passed on fresh seeds, 100 % if none did, and its gain there "
        "(if none passed, that of the largest). Gains and margins in nats per token.",
    )  # fmt: skip


def _summarise(rows: Sequence[Row]) -> str:
    sentences, settings = [], len({row["setting"] for row in rows})
    for method, label in LABELS.items():
        own = [row["share"] for row in rows if row["method"] == method]
        if own:
            fewer = f" ({len(own)} settings)" if len(own) < settings else ""
            sentences.append(f"`{label}` {write_percent(float(np.mean(own)))}{fewer}")
    over = f"{settings} setting{'s' if settings > 1 else ''}"
    return (
        f"Mean share of uniform's parameters over {over}: {', '.join(sentences)} "
        f"(goal {write_percent(GOAL)}).\n"
    )


def _build_attempts(rows: Sequence[Row], setting: str) -> Table:
    lines = tuple(
        (
            LABELS.get(str(row["method"]), str(row["method"])),
            seeds,
            write_percent(step["share"]),
            write_gain(step["gain"]),
            write_interval(step["gain_low"], step["gain_high"]),
            "not worse" if step["accepted"] else "not shown",
        )
        for row in rows
        for seeds, steps in (("bisection", row["attempts"]), ("fresh", row["confirmed"]))
        for step in steps
    )
    header = ("method", "seeds", "share of the budget", "gain", "95 % interval", "verdict")
    return Table(name=f"smaller-{setting}", title=setting, header=header, rows=lines)
