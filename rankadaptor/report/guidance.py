"""What the trained predictor saves the quickstart's search, in words and a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rankadaptor.plots.contest import DEFAULT
from rankadaptor.results.table import Table, write_gain

Row = Mapping[str, Any]


def write_guidance(rows: Sequence[Row], *, figure: str) -> str:
    """Return figure, sentence and table as Markdown.

    Args:
        rows: With `predictor`, `search_seed`, `short_runs`, `gain` and `outcome`.
        figure: Path of the figure, as the document links it.
    """
    most = max(row["short_runs"] for row in rows)
    first = min(row["short_runs"] for row in rows)
    names = sorted(dict.fromkeys(row["predictor"] for row in rows), key=lambda name: name != DEFAULT)
    settled = {name: settle(rows, name) for name in names}
    parts = [
        f"from {' and '.join(map(str, settled[name]))} short runs on "
        f"{'with the trained predictor' if name == DEFAULT else f'without a corpus (`{name}`)'}"
        for name in names
    ]
    searches = len({row["search_seed"] for row in rows})
    average = {name: float(np.mean(counts)) for name, counts in settled.items()}
    others = [value for name, value in average.items() if name != DEFAULT]
    saves = bool(others) and average.get(DEFAULT, np.inf) < min(others)
    verdict = f"So the corpus saves {'' if saves else 'no '}short runs here"
    if not saves and all(value == first for value in average.values()):
        verdict += f": {first}, the fewest looked at, do without it too"
    return "\n\n".join(
        [
            f"![Gain on fresh seeds over short runs]({figure})",
            f"On the quickstart itself, searched under {searches} seeds, the verdict is that after {most} "
            f"short runs {'; '.join(parts)}. {verdict}.",
            tabulate_guidance(rows).to_markdown().rstrip("\n"),
        ]
    )


def settle(rows: Sequence[Row], name: str) -> list[int]:
    """Return, a search, the fewest short runs from which on every verdict is that after the most."""
    found = []
    for seed in sorted({row["search_seed"] for row in rows if row["predictor"] == name}):
        own = sorted(
            (row for row in rows if (row["predictor"], row["search_seed"]) == (name, seed)),
            key=lambda row: int(row["short_runs"]),
        )
        differing = [index for index, row in enumerate(own) if row["outcome"] != own[-1]["outcome"]]
        found.append(int(own[differing[-1] + 1 if differing else 0]["short_runs"]))
    return found


def tabulate_guidance(rows: Sequence[Row]) -> Table:
    """Return a table of gains and verdicts, a column a predictor and a line a number of short runs."""
    names = sorted(dict.fromkeys(row["predictor"] for row in rows), key=lambda name: name != DEFAULT)
    lines = []
    for count in sorted({row["short_runs"] for row in rows}):
        cells = []
        for name in names:
            own = [row for row in rows if (row["predictor"], row["short_runs"]) == (name, count)]
            cells.append("; ".join(f"{write_gain(row['gain'])}, {row['outcome']}" for row in own))
        lines.append((str(count), *cells))
    return Table(
        name="guidance", title="Gains by short runs", header=("short runs", *names), rows=tuple(lines)
    )
