"""The document on initialisations of uniform adapters, written from the rows of `experiments/starts`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rankadaptor.files import write_text
from rankadaptor.results.table import (
    Table,
    write_gain,
    write_interval,
    write_loss,
    write_percent,
    write_value,
)

Row = Mapping[str, Any]

INTRODUCTION = """\
# Beyond ranks: the initialisation of an adapter

Written by `python -m experiments.starts`; not edited by hand. Every row is an adapter of uniform ranks with
the same parameters; rows differ in initialisation (or scale). Each initialisation has the best of six
learning rates, a quarter to twice the setting's own, tried on one further seed (if the best is the first or
the last, a rate outside this range may be better). It is recovered in full on {seeds} fresh seeds, paired
with the default initialisation at the setting's own rate. [The comparison](comparison.md) shows
initialisation, rate and scales *together with* ranks, at equal cost: `rate`, `init + rate`, `ranks + scales`
and `init + rate, then ranks`.

| initialisation | what it is |
|---|---|
| `random` | A at random, B at zero: plain LoRA, at the best rate |
| `gradient` | A along the leading directions of each linear's first gradient, B at zero |
| `eva` | A along the leading directions of each linear's inputs ([EVA](references.md#EVA), by PEFT) |
| `rslora` | scale alpha/√r in place of alpha/r ([rsLoRA](references.md#rsLoRA)) |
| `pissa`, `olora` | A and B are the leading parts of the base weights, which keep the rest (by PEFT) |

`pissa` and `olora` change the base model: for plain PEFT on the unchanged model, such an adapter has to be
saved at twice the rank. They are shown for comparison. A run file offers `recipe.initialisation:
random` and `gradient`, and `recipe.tune.initialisations: [random, gradient]` tries both.
"""


def write_starts(rows: Sequence[Row], *, file: Path) -> None:
    """Write the document.

    Raises:
        StorageError: If it cannot be written.
    """
    write_text(file, render_starts(rows))


def render_starts(rows: Sequence[Row]) -> str:
    """Return the document as Markdown: means first, then each setting."""
    seeds = max(row["seeds"] for row in rows)
    parts = [INTRODUCTION.format(seeds=seeds), average_starts(rows).to_markdown()]
    for setting in dict.fromkeys(str(row["setting"]) for row in rows):
        own = [row for row in rows if row["setting"] == setting]
        parts += [f"## {setting}\n", _build_table(own, setting).to_markdown()]
    return "\n".join(parts)


def average_starts(rows: Sequence[Row]) -> Table:
    """Return one line per initialisation: mean gain, also as a share of what uniform wins back, and wins."""
    judged = [row for row in rows if row["gain"] is not None and row["regained"] is not None]
    lines = []
    for way in dict.fromkeys(row["way"] for row in judged):
        own = [row for row in judged if row["way"] == way]
        lines.append(
            (
                way,
                str(len(own)),
                write_gain(float(np.mean([row["gain"] for row in own]))),
                write_percent(float(np.mean([row["gain"] / row["regained"] for row in own]))),
                str(sum(row["outcome"] == "better" for row in own)),
                str(sum(row["outcome"] == "worse" for row in own)),
            )
        )
    return Table(
        name="starts",
        title="Mean over settings",
        header=("initialisation", "settings", "gain", "more regained", "better", "worse"),
        rows=tuple(lines),
        note="Gains in nats per token of held-out text, positive is better than the default. *More "
        "regained*: the gain as a share of the loss that the default wins back. *Better*, "
        "*worse*: settings whose interval excludes zero.",
    )


def _build_table(rows: Sequence[Row], setting: str) -> Table:
    lines = tuple(
        (
            row["way"],
            f"{write_value(row['learning_rate'])} ({row['learning_rate'] / row['own_rate']:.2g} ×)",
            write_loss(row["loss"]),
            write_gain(row["gain"]),
            write_interval(row["gain_low"], row["gain_high"]),
            row["outcome"],
        )
        for row in rows
    )
    header = ("initialisation", "learning rate", "loss", "gain", "interval", "verdict")
    return Table(name=f"starts-{setting}", title=setting, header=header, rows=lines)
