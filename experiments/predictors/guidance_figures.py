"""Figures of the gain of a search over its number of short runs, by predictor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.predictors.figures import DEFAULT
from rankadaptor.errors import InputError
from rankadaptor.plots.style import BLUE, GREEN, MUTED, VERMILION, make_figure, style_legend, style_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 0.12


def plot_guidance(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the gain on fresh seeds over the number of short runs, one curve per predictor.

    Lines are means over searches; dots are the searches, each with the interval of its verdict.

    Args:
        rows: With `predictor`, `search_seed`, `short_runs`, `gain`, `gain_low` and `gain_high`, nats per
            token.

    Raises:
        InputError: If there are no rows.
    """
    usable = [row for row in rows if row["gain"] is not None]
    if not usable:
        raise InputError("No rows to draw: no search was judged.")
    counts = sorted({row["short_runs"] for row in usable})
    figure, (axis,) = make_figure(height=3.2)
    axis.axhline(0.0, color=MUTED, linewidth=0.9, linestyle=(0, (4, 2)))
    names = sorted(dict.fromkeys(row["predictor"] for row in usable), key=lambda name: name != DEFAULT)
    for name, colour, marker, aside in zip(
        names, (VERMILION, BLUE), ("o", "s"), (-WIDTH, WIDTH), strict=False
    ):
        own = [row for row in usable if row["predictor"] == name]
        means = [
            (place, float(np.mean([row["gain"] for row in own if row["short_runs"] == count])))
            for place, count in enumerate(counts)
            if any(row["short_runs"] == count for row in own)
        ]
        label = f"trained on the corpus ({name})" if name == DEFAULT else f"without a corpus ({name})"
        across, gains = zip(*means, strict=True)
        axis.plot(across, gains, color=colour, marker=marker, markersize=5, linewidth=2.0, label=label)
        for row in own:
            place = counts.index(row["short_runs"]) + aside * (1 + 0.6 * row["search_seed"])
            low, high = row["gain_low"], row["gain_high"]
            if low is not None and high is not None:
                axis.plot([place, place], [low, high], color=colour, linewidth=0.9, alpha=0.5)
            axis.plot([place], [row["gain"]], color=colour, marker=marker, markersize=3, alpha=0.6)
    style_title(axis, "What the short rank search would hand over")
    axis.set_ylabel("gain over uniform on fresh\nseeds, nats per token")
    axis.set_xlabel("short runs of the search")
    axis.set_xticks(range(len(counts)), [str(count) for count in counts])
    style_legend(axis, columns=2)
    return figure


def plot_replay(rows: Sequence[Mapping[str, Any]], *, ways: Mapping[str, str]) -> Figure:
    """Draw the gain of a search over its short runs, one curve per strategy: means over settings.

    Args:
        rows: With `way`, `setting`, `short_runs` and `gain`, in units of a setting's spread.
        ways: Display names of the strategies, at most three.

    Raises:
        InputError: If one of them is not among the rows.
    """
    counts = sorted({row["short_runs"] for row in rows})
    figure, (axis,) = make_figure(height=3.0)
    axis.axhline(0.0, color=MUTED, linewidth=0.9, linestyle=(0, (4, 2)))
    for (way, label), colour, marker in zip(
        ways.items(), (VERMILION, GREEN, BLUE), ("o", "^", "s"), strict=False
    ):
        own = [row for row in rows if row["way"] == way]
        if not own:
            raise InputError(f"No rows of {way!r} to draw.")
        means = [
            float(np.mean([row["gain"] for row in own if row["short_runs"] == count])) for count in counts
        ]
        axis.plot(
            range(len(counts)), means, color=colour, marker=marker, markersize=5, linewidth=2.0, label=label
        )
    settings = len({row["setting"] for row in rows})
    style_title(axis, f"What a search hands over, replayed in {settings} settings not trained on")
    axis.set_ylabel("gain over uniform, in spreads\nof the setting's gains")
    axis.set_xlabel("short runs of the search")
    axis.set_xticks(range(len(counts)), [str(count) for count in counts])
    style_legend(axis, columns=1)
    return figure
