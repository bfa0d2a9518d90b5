"""The figure of the frontier: loss over file size, ours and the references, of one setting."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.frontier.rows import Row
from rankadaptor.plots.frontier import plot_sizes
from rankadaptor.results.document import SCHEMA


def draw_frontier(rows: Sequence[Row], *, file: Path) -> None:
    """Draw all files of a setting with the plot that a single run's report shows."""
    from rankadaptor.files import write_bytes
    from rankadaptor.plots.style import to_png

    points = [
        {
            "name": row["method"],
            "types": row["method"].removesuffix(", recovered"),
            "kind": row["kind"],
            "recovered": row["recovered"],
            "bytes": row["bytes"],
            "losses": {"judging": row["loss_judging"], "other": row["loss_other"]},
            "speed": None,
        }
        for row in rows
    ]
    losses = {"judging": rows[0]["loss_dense_judging"], "other": rows[0]["loss_dense_other"]}
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "run": {},
        "result": {"points": points, "losses": losses},
        "environment": {},
    }
    write_bytes(file, to_png(plot_sizes(document)))
