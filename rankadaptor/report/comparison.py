"""The document on the comparison of methods, written from its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rankadaptor.files import write_text
from rankadaptor.results.table import Table, write_count, write_gain, write_loss, write_percent

DOCUMENT = Path("docs/comparison.md")

Row = Mapping[str, Any]


def write_comparison(rows: Sequence[Row], *, file: Path = DOCUMENT) -> None:
    """Write the document.

    Raises:
        StorageError: If it cannot be written.
    """
    write_text(file, render_comparison(rows))


def render_comparison(rows: Sequence[Row]) -> str:
    """Return the document as Markdown: averages over settings first, then each setting."""
    parts = [
        "# Ways of choosing ranks, compared\n",
        "Written from `experiments/results/compare.json` by `rankadaptor compare`; not edited by hand. All "
        "methods have uniform's adapter parameters and may spend the same number of tokens on choosing; what "
        "they choose is recovered in full on fresh seeds, paired with uniform.\n",
        average_methods(rows).to_markdown(),
    ]
    for setting in sorted({str(row["setting"]) for row in rows}):
        table = build_table([row for row in rows if row["setting"] == setting], setting)
        parts += [f"## {setting}\n", table.to_markdown()]
    return "\n".join(parts)


def average_methods(rows: Sequence[Row]) -> Table:
    """Return one line per method: its mean gain over all settings, wins and losses, and cost."""
    settings = {row["setting"] for row in rows}
    lines = []
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method and row["gain"] is not None]
        if not own:
            continue
        extra = [row["extra_regained"] for row in own if row["extra_regained"] is not None]
        lines.append(
            (
                method,
                str(len(own)),
                write_gain(float(np.mean([row["gain"] for row in own]))),
                write_percent(float(np.mean(extra)) if extra else None),
                str(sum(row["outcome"] == "better" for row in own)),
                str(sum(row["outcome"] == "worse" for row in own)),
                write_count(float(np.mean([row["cost_tokens"] for row in own]))),
            )
        )
    return Table(
        name="methods",
        title=f"Mean over {len(settings)} settings",
        header=("method", "settings", "gain", "more regained", "better", "worse", "tokens to choose"),
        rows=tuple(lines),
        note="Gains in nats per token of held-out text, positive is better than uniform. *More regained*: "
        "the gain as a share of what uniform wins back of the pruned model's loss. *Better*, *worse*: "
        "settings in which the 95 % interval leaves out zero.",
    )


def build_table(rows: Sequence[Row], setting: str) -> Table:
    """Return one line per method of one setting."""
    lines = tuple(
        (
            f"{row['method']} (= uniform)" if _is_same(row) else row["method"],
            write_loss(row["loss"]),
            write_gain(row["gain"]),
            "–"
            if row["gain_low"] is None
            else f"{write_gain(row['gain_low'])} to {write_gain(row['gain_high'])}",
            row["outcome"],
            write_count(row["parameters"]),
            write_count(row["cost_tokens"]),
        )
        for row in rows
    )
    return Table(
        name=f"methods-{setting}",
        title=setting,
        header=("method", "loss", "gain", "95 % interval", "verdict", "parameters", "tokens to choose"),
        rows=lines,
    )


def _is_same(row: Row) -> bool:
    return bool(row["equals_uniform"]) and row["method"] != "uniform"
