"""Describe how many short runs the trained predictor saves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.predictors.figures import DEFAULT

Row = Mapping[str, Any]


def write_guidance(rows: Sequence[Row], *, figure: str) -> str:
    """Return figure and sentence as Markdown.

    Args:
        rows: With `predictor`, `search_seed`, `short_runs`, `gain` and `outcome`.
        figure: Path of the figure, as the document links it.
    """
    most = max(row["short_runs"] for row in rows)
    first = min(row["short_runs"] for row in rows)
    names = sorted(dict.fromkeys(row["predictor"] for row in rows), key=lambda name: name != DEFAULT)
    settled = {name: settle(rows, name) for name in names}
    parts = [
        f"{' and '.join(map(str, settled[name]))} "
        f"{'with the trained predictor' if name == DEFAULT else f'without a corpus (`{name}`)'}"
        for name in names
    ]
    searches = len({row["search_seed"] for row in rows})
    average = {name: float(np.mean(counts)) for name, counts in settled.items()}
    others = [value for name, value in average.items() if name != DEFAULT]
    final = {row["outcome"] for row in rows if row["short_runs"] == most}
    if len(final) > 1 or final == {"worse"}:
        verdict = f"After {most} the verdicts differ or are worse, so nothing is saved"
    else:
        saves = bool(others) and average.get(DEFAULT, np.inf) < min(others)
        verdict = f"So the corpus saves {'' if saves else 'no '}short runs here"
        if not saves and all(value == first for value in average.values()):
            verdict += f": {first}, the fewest looked at, do without it too"
    return "\n\n".join(
        [
            f"![Gain on fresh seeds over short runs]({figure})",
            f"In the short rank search on SmolLM2-135M, {searches} searches each. Short runs from which "
            f"on the verdict is that after {most}: {', '.join(parts)}. {verdict}.",
        ]
    )


def settle(rows: Sequence[Row], name: str) -> list[int]:
    """Return for each search the smallest number of short runs after which the verdict is final."""
    found = []
    for seed in sorted({row["search_seed"] for row in rows if row["predictor"] == name}):
        own = sorted(
            (row for row in rows if (row["predictor"], row["search_seed"]) == (name, seed)),
            key=lambda row: int(row["short_runs"]),
        )
        differing = [index for index, row in enumerate(own) if row["outcome"] != own[-1]["outcome"]]
        found.append(int(own[differing[-1] + 1 if differing else 0]["short_runs"]))
    return found


def write_replay(rows: Sequence[Row], *, figure: str, ways: Mapping[str, str]) -> str:
    """Return a figure and a sentence with the first and last gain of each strategy, as Markdown.

    Args:
        rows: With `way`, `setting`, `short_runs` and `gain`, in units of a setting's spread.
        figure: Path of the figure, as the document links it.
        ways: Display names of the strategies.
    """
    counts = sorted({row["short_runs"] for row in rows})
    settings = len({row["setting"] for row in rows})
    parts = []
    for way, words in ways.items():
        gains = _average_gains(rows, way)
        parts.append(f"{words} {', '.join(_write_spreads(gains[count]) for count in counts)}")
    return (
        f"![Gain over short runs]({figure})\n\nReplayed among the measured allocations of {settings} "
        f"settings that it was not trained on: what a search hands over after "
        f"{', '.join(map(str, counts))} short runs, in units of a setting's spread of gains, is "
        f"{'; '.join(parts)}."
    )


def _write_spreads(gain: float) -> str:
    return f"{gain:+.2f}".replace("-", "−")


def _average_gains(rows: Sequence[Row], way: str) -> dict[int, float]:
    gains: dict[int, list[float]] = {}
    for row in rows:
        if row["way"] == way:
            gains.setdefault(row["short_runs"], []).append(row["gain"])
    return {count: float(np.mean(found)) for count, found in gains.items()}
