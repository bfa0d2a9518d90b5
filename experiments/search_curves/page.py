"""docs/search-curves.md: how many evaluations searches need, written from the rows of the curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.search_curves.curves import COUNTS, Row
from experiments.search_curves.methods import EVOLUTION, TRAINED
from rankadaptor.files import write_text
from rankadaptor.results.table import ABSENT, Table

INTRODUCTION = """\
# How many evaluations a search needs

Written from experiments/results/search_curves.json by
`python -m experiments.search_curves --into docs/search-curves.md`; not edited by hand. The rows are computed
from `experiments/search_curves/records/` and `meta_data/slices/` by `python -m experiments.search_curves`.

Every search looks for the allocation of lowest KL divergence to the dense model inside one limit on the bytes
of the file. *trained predictor* computes slot features, starts at the exact optimum of what a predictor
expects that was trained on other model families, and refines with it; it makes no sweep. *sweep and
refinement* measures two options of every slot, starts at the exact optimum of their sum (its first value in
the table), and refines with a predictor that begins with the sweep: what `compress` does. *blind evolution*
trades between slots of the best so far, from 16 random allocations on. *radial basis function* is the
surrogate of AMQ, fitted to 32 allocations that are spread over the space and to all that follow, with one
evolution of candidates between batches; *random* draws. Batches have four allocations, every score is on all
tokens of the setting, and each search ran with the seeds that `runs` counts.

Regret is by how many per cent the best divergence so far exceeds the least that is known of the band, a mean
over seeds. That least one is the reference optimum of the collection or better; *reference evaluations* is
what was spent on it, these searches included.
"""
WANTED, BUDGET = 1.0, 60
"""Regret in per cent, and evaluations it is wanted after."""


def write_page(rows: Sequence[Row], file: Path) -> None:
    """Write the document."""
    parts = [INTRODUCTION, "## Target\n", list_targets(rows).to_markdown()]
    for setting, band in dict.fromkeys((row["setting"], row["band"]) for row in rows):
        own = [row for row in rows if (row["setting"], row["band"]) == (setting, band)]
        parts += [
            f"## {setting}, {band}\n",
            f"Least divergence known: {own[0]['optimum']:.4f} nats per token, after "
            f"{own[0]['reference_evaluations']:,} reference evaluations.\n",
            tabulate(own).to_markdown(),
        ]
    write_text(file, "\n".join(parts).rstrip() + "\n")


def tabulate(rows: Sequence[Row]) -> Table:
    """Return regret by method and evaluations, with the tokens of the target's number of evaluations."""
    lines = []
    for method in dict.fromkeys(row["method"] for row in rows):
        own = {row["evaluations"]: row for row in rows if row["method"] == method}
        cells = [_write(own[count]["regret"]) if count in own else ABSENT for count in COUNTS]
        lines.append((method, f"{own[min(own)]['runs']}", *cells, f"{own[BUDGET]['tokens'] / 1e3:.0f}k"))
    header = ("regret in %", "runs", *(f"{count}" for count in COUNTS), f"tokens of {BUDGET}")
    return Table(name="regret", title="Regret", header=header, rows=tuple(lines))


def list_targets(rows: Sequence[Row]) -> Table:
    """Compare the trained predictor with what is wanted: the regret, and evaluations of blind evolution."""
    lines = []
    for setting, band in dict.fromkeys((row["setting"], row["band"]) for row in rows):
        own = [row for row in rows if (row["setting"], row["band"]) == (setting, band)]
        guided = {row["evaluations"]: row["regret"] for row in own if row["method"] == TRAINED}
        blind = {row["evaluations"]: row["regret"] for row in own if row["method"] == EVOLUTION}
        reached = guided.get(BUDGET)
        if reached is None:
            continue
        equal = [count for count, regret in blind.items() if regret is not None and regret <= reached]
        longest = max(blind, default=0)
        lines.append(
            (
                f"{setting}, {band}", _write(reached), "yes" if reached <= WANTED else "no",
                f"{min(equal)}" if equal else f"more than {longest}",
            )
        )  # fmt: skip
    mean = [row["regret"] for row in rows if (row["method"], row["evaluations"]) == (TRAINED, BUDGET)]
    if mean:
        average = float(np.mean(mean))
        lines.append(("mean", _write(average), "yes" if average <= WANTED else "no", ABSENT))
    return Table(
        name="targets",
        title="Target",
        header=(
            "band", f"regret after {BUDGET} evaluations, %", f"within {WANTED:.0f} %",
            "evaluations of blind evolution for the same",
        ),
        rows=tuple(lines),
    )  # fmt: skip


def _write(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.1f}"
