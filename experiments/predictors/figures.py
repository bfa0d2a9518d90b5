"""Figures of how well predictors rank allocations in settings that they were not trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rankadaptor.errors import InputError
from rankadaptor.plots.style import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    make_figure,
    style_legend,
    style_title,
)  # fmt: skip

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DEFAULT = "meta"
UNTAUGHT = "gaussian_process"
"""The contestant with the same features and no training on other settings."""
LOOKS = (
    (VERMILION, "-", "o"), (BLUE, "-", "s"), (GREEN, "-", "^"), (ORANGE, "-", "v"), (PURPLE, "-", "D"),
    (SKY, "-", "P"), (MUTED, "-", "X"), (BLUE, "--", "s"), (GREEN, "--", "^"), (ORANGE, "--", "v"),
    (PURPLE, "--", "D"), (SKY, "--", "P"), (MUTED, "--", "X"), (INK, ":", "o"), (BLUE, ":", "s"),
)  # fmt: skip
TARGETS = ((0, 0.6), (16, 0.85))


def plot_contest(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw, over the number of online records, the share of the noise ceiling reached and the coverage.

    Averages over settings in which allocations differ by more than noise, held-out ones included, or over all
    settings if none is known to have signal. Settings too small for the largest count are left out, so that
    all counts are averaged over the same settings.

    Raises:
        InputError: If there are no rows.
    """
    if not rows:
        raise InputError("No rows to draw: the benchmark judged no setting.")
    chosen = _keep_whole([row for row in rows if row["signal"]] or rows)
    settings = len({row["setting"] for row in chosen})
    names = sorted(dict.fromkeys(row["predictor"] for row in chosen), key=lambda name: name != DEFAULT)
    counts = sorted({row["records"] for row in chosen})
    figure, (upper, lower) = make_figure(height=6.2, rows=2, ratios=(3.0, 1.6))
    places = {count: place for place, count in enumerate(counts)}
    for name, (colour, line, marker) in zip(names, _repeat_looks(len(names)), strict=True):
        style: dict[str, Any] = {
            "color": colour, "linestyle": line, "marker": marker, "markersize": 5,
            "linewidth": 2.4 if name == DEFAULT else 1.2, "zorder": 3 if name == DEFAULT else 2,
        }  # fmt: skip
        _draw(upper, chosen, places, name=name, field="kendall_ratio", style={**style, "label": name})
        _draw(lower, chosen, places, name=name, field="coverage90", style=style)
    for count, target in TARGETS:
        if count in places:
            upper.plot(
                [places[count]], [target], marker="_", markersize=26, color=INK, linestyle="none", zorder=4,
                label="target of meta" if count == TARGETS[0][0] else None,
            )  # fmt: skip
    upper.axhline(1.0, color=MUTED, linewidth=0.9, linestyle=(0, (4, 2)))
    lower.axhspan(0.85, 0.95, color=MUTED, alpha=0.18, linewidth=0)
    style_title(upper, f"Order of unseen allocations in {settings} settings not trained on")
    upper.set_ylabel("Kendall τ as a share of\nwhat noise allows")
    lower.set_ylabel("gains inside the\n90 % interval")
    lower.set_xlabel("online records of the setting (allocations measured)")
    lower.set_xticks(list(places.values()), [str(count) for count in counts])
    lower.set_ylim(0.0, 1.02)
    style_legend(upper, columns=3)
    return figure


def plot_start(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the benefit of a corpus at the start of a search: the default predictor and one without a corpus.

    Averages over the settings that `plot_contest` averages over.

    Raises:
        InputError: If one of the two is not among the rows.
    """
    chosen = _keep_whole([row for row in rows if row["signal"]] or rows)
    names = {row["predictor"] for row in chosen}
    if missing := [name for name in (DEFAULT, UNTAUGHT) if name not in names]:
        raise InputError(
            f"No rows of {missing[0]} to draw: run `python -m experiments.predictors` with all contestants."
        )
    counts = sorted({row["records"] for row in chosen})
    places = {count: place for place, count in enumerate(counts)}
    figure, (axis,) = make_figure(height=3.2)
    for name, label, colour, marker in (
        (DEFAULT, "trained on the corpus (meta)", VERMILION, "o"),
        (UNTAUGHT, "without a corpus (gaussian_process)", BLUE, "s"),
    ):
        style = {"color": colour, "marker": marker, "markersize": 5, "linewidth": 2.0, "label": label}
        _draw(axis, chosen, places, name=name, field="kendall_ratio", style=style)
    axis.axhline(1.0, color=MUTED, linewidth=0.9, linestyle=(0, (4, 2)))
    settings = len({row["setting"] for row in chosen})
    style_title(axis, f"Order of unseen allocations in {settings} settings not trained on")
    axis.set_ylabel("Kendall τ as a share of\nwhat noise allows")
    axis.set_xlabel("short runs measured in the setting")
    axis.set_xticks(list(places.values()), [str(count) for count in counts])
    style_legend(axis, columns=2)
    return figure


def _keep_whole(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Keep the settings judged at every count, so that all points of a line average the same settings."""
    largest = max((row["records"] for row in rows), default=0)
    whole = {row["setting"] for row in rows if row["records"] == largest}
    return [row for row in rows if row["setting"] in whole]


def _draw(
    axis: Axes,
    rows: Sequence[Mapping[str, Any]],
    places: Mapping[int, int],
    *,
    name: str,
    field: str,
    style: Mapping[str, Any],
) -> None:
    points = []
    for count, place in places.items():
        found = [
            row[field]
            for row in rows
            if row["predictor"] == name and row["records"] == count and row[field] is not None
        ]
        if found:
            points.append((place, float(np.mean(found))))
    if points:
        across, values = zip(*points, strict=True)
        axis.plot(across, values, **style)


def _repeat_looks(count: int) -> list[tuple[str, str, str]]:
    return [LOOKS[index % len(LOOKS)] for index in range(count)]
