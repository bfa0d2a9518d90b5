"""Figure of the gains over uniform by method, per setting and on average."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from experiments.compare.labels import label_method
from experiments.compare.pooling import pool_gains
from rankadaptor.errors import InputError
from rankadaptor.plots.style import BLUE, INK, MUTED, VERMILION, make_figure, style_legend, style_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOOKS = {"better": (BLUE, "^"), "no difference": (MUTED, "o"), "worse": (VERMILION, "v")}


def plot_comparison(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw each method's gains: one mark per setting, and the mean over settings with its interval.

    Only settings with a result of every method are shown; the line at zero is uniform itself.

    Args:
        rows: With `method`, `setting`, `outcome`, `gain` and `gains`, nats per token.

    Raises:
        InputError: If no setting has all methods.
    """
    usable = {(row["setting"], row["method"]): row for row in rows if len(row["gains"]) >= 2}
    methods = [name for name in dict.fromkeys(row["method"] for row in rows) if name != "uniform"]
    settings = [
        setting
        for setting in dict.fromkeys(row["setting"] for row in rows)
        if all((setting, method) in usable for method in methods)
    ]
    if not settings or not methods:
        raise InputError("No setting in which every method was judged: nothing to draw.")
    pooled = {name: pool_gains([usable[setting, name]["gains"] for setting in settings]) for name in methods}
    order = sorted(methods, key=lambda name: pooled[name].gain or 0.0)
    figure, (axis,) = make_figure(height=1.2 + 0.26 * len(order))
    axis.grid(visible=False, axis="y")
    axis.grid(visible=True, axis="x")
    axis.axvline(0.0, color=MUTED, linewidth=0.9, linestyle=(0, (4, 2)))
    for outcome, (colour, marker) in LOOKS.items():
        found = [
            (usable[setting, name]["gain"], place)
            for place, name in enumerate(order)
            for setting in settings
            if usable[setting, name]["outcome"] == outcome
        ]
        if found:
            across, up = zip(*found, strict=True)
            label = outcome if outcome == "no difference" else f"{outcome} in a setting"
            axis.plot(
                across, up, linestyle="none", marker=marker, markersize=4.5, color=colour, alpha=0.75,
                label=label,
            )  # fmt: skip
    for place, name in enumerate(order):
        gain, low, high = (value or 0.0 for value in (pooled[name].gain, pooled[name].low, pooled[name].high))
        axis.plot([low, high], [place, place], color=INK, linewidth=2.0, solid_capstyle="butt")
        label = "mean, with its 95 % interval" if place == 0 else ""
        axis.plot([gain], [place], marker="D", markersize=5, color=INK, linestyle="none", label=label or None)
    style_title(axis, f"Gain over uniform at equal cost, {len(settings)} setting{'s' * (len(settings) > 1)}")
    axis.set_yticks(range(len(order)), [label_method(name) for name in order])
    axis.set_xlabel("nats per token of held-out text, after full recovery on fresh seeds")
    style_legend(axis, columns=2, outside=True)
    return figure
