"""Regret of the first choices of a predictor against the best allocation, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.predictors.figures import DEFAULT

Row = Mapping[str, Any]


def render_regret(rows: Sequence[Row]) -> str:
    """Return tables of predictors and counts: gain missed by the first choice, and by the first five.

    In units of the setting's spread of measured gains, so that settings have equal weights.
    """
    decided = [row for row in rows if row["signal"]] or list(rows)
    chosen = [row for row in decided if row["measured_spread"]]
    parts = []
    for held_out, label in ((False, "Left out in turn"), (True, "Held out")):
        own = [row for row in chosen if row["held_out"] is held_out]
        if not own:
            continue
        counts, settings = sorted({row["records"] for row in own}), len({row["setting"] for row in own})
        lines = [
            f"**{label}**: {settings} settings. First choice · best of five.\n",
            "| predictor | " + " | ".join(f"{count} records" for count in counts) + " |",
            "|---|" + "---|" * len(counts),
        ]
        for name in dict.fromkeys(row["predictor"] for row in own):
            cells = [
                _write_cell(
                    [row for row in own if (row["predictor"], row["records"]) == (name, count)],
                    settings=settings,
                )
                for count in counts
            ]
            lines.append(f"| {f'**{name}**' if name == DEFAULT else name} | {' | '.join(cells)} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _write_cell(rows: Sequence[Row], *, settings: int) -> str:
    if not rows or not any(
        row["predicted_spread"] for row in rows
    ):  # all predictions are equal: there is no first choice
        return ""
    first, five = (
        float(np.mean([row[field] / row["measured_spread"] for row in rows]))
        for field in ("regret1", "regret5")
    )
    fewer = f" (n={len(rows)})" if len(rows) < settings else ""
    return f"{first:.2f} · {five:.2f}{fewer}"
