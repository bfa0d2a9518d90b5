"""docs/performance-model.md: how well models predict slices, written from the benchmark's rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from experiments.performance_model.contestants import TRAINED
from experiments.performance_model.judging import COUNTS, FRONT, RANDOM, Row
from rankadaptor.files import write_text
from rankadaptor.results.table import ABSENT, Table

INTRODUCTION = """\
# How well the score of a slice can be predicted

Written from experiments/results/performance_model.json by
`python -m experiments.performance_model --into docs/performance-model.md`; not edited by hand. The rows are
computed from the records in `meta_data/slices/` alone by `python -m experiments.performance_model`.

A predictor orders allocations of widths, depth and types by their KL divergence to the dense model, inside
one band of file sizes. *random* are allocations drawn at random. *front* is the best fifth of the records
of one search, where the choice is made; there a predictor learns from other records of that search. τ is
Kendall's, averaged over settings and bands. *Held out* tells what a trained model has not seen: the setting
itself, or all settings of its family. Rows with *nothing* are not trained on other settings; those named
*sweep* have measured every option of every slot before the first record, the others have not.
"""
TARGETS: tuple[tuple[str, int, float], ...] = ((RANDOM, 0, 0.8), (RANDOM, 64, 0.9), (FRONT, 64, 0.5))
"""Region, records and τ that is wanted."""
BASELINES = (
    "sweep, sum", "gradient score", "gradient score of sequences", "Taylor", "removed importance",
    "rounding error", "bytes", "parameters",
)  # fmt: skip
MARGIN = 0.05


def write_page(rows: Sequence[Row], file: Path) -> None:
    """Write the document."""
    settings = list(dict.fromkeys(row["setting"] for row in rows))
    bands = {(row["setting"], row["band"]) for row in rows}
    parts = [
        INTRODUCTION,
        f"{len(settings)} settings with {len(bands)} bands: {', '.join(settings)}.\n",
        "## Targets\n",
        list_targets(rows).to_markdown(),
    ]
    for region in (RANDOM, FRONT):
        for field, words in (("kendall", "Kendall's τ"), ("coverage90", "Coverage of intervals of 90 %")):
            table = tabulate(rows, region=region, field=field, title=f"{words}, {region}", write=_write_two)
            parts += [f"## {table.title}\n", table.to_markdown()]
    regret = tabulate(
        rows, region=FRONT, field="regret", title="Regret of the first choice in % of the divergence, front",
        write=_write_percent,
    )  # fmt: skip
    parts += [f"## {regret.title}\n", regret.to_markdown()]
    write_text(file, "\n".join(parts).rstrip() + "\n")


def tabulate(
    rows: Sequence[Row], *, region: str, field: str, title: str, write: Callable[[float], str]
) -> Table:
    """Return means over settings and bands, by predictor and number of records."""
    own = [row for row in rows if row["region"] == region]
    lines = []
    for name, left in dict.fromkeys((row["predictor"], row["held_out"]) for row in own):
        cells = []
        for count in COUNTS:
            found = [
                row[field]
                for row in own
                if (row["predictor"], row["held_out"], row["records"]) == (name, left, count)
            ]
            cells.append(write(float(np.mean(found))) if found else ABSENT)
        lines.append((name, left, *cells))
    header = ("predictor", "held out", *(f"{count} records" for count in COUNTS))
    return Table(name=f"{field}-{region}", title=title, header=header, rows=tuple(lines))


def list_targets(rows: Sequence[Row]) -> Table:
    """Compare the trained model, of other families alone, with what is wanted of it."""
    lines = []
    for region, count, wanted in TARGETS:
        reached = _average(rows, TRAINED, region, count, left="family")
        others = {name: _average(rows, name, region, count) for name in BASELINES}
        known = {name: value for name, value in others.items() if value is not None}
        if reached is None or not known:
            continue
        best = max(known, key=lambda name: known[name])
        lines.append(
            (
                f"{region}, {count} records", _write_two(wanted), _write_two(reached),
                "yes" if reached >= wanted else "no", f"{best} {_write_two(known[best])}",
                "yes" if reached >= known[best] + MARGIN else "no",
            )
        )  # fmt: skip
    return Table(
        name="targets",
        title="Targets",
        header=("where", "τ wanted", "τ", "met", "best baseline", f"above it by {MARGIN}"),
        rows=tuple(lines),
    )


def _average(
    rows: Sequence[Row], name: str, region: str, count: int, *, left: str | None = None
) -> float | None:
    found = [
        row["kendall"]
        for row in rows
        if (row["predictor"], row["region"], row["records"]) == (name, region, count)
        and left in (None, row["held_out"])
    ]
    return float(np.mean(found)) if found else None


def _write_two(value: float) -> str:
    return f"{value:.2f}"


def _write_percent(value: float) -> str:
    return f"{value:.1f}"
