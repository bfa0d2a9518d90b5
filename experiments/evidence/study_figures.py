"""Figures of learning rates, scaling exponents, recovery and benchmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from experiments.evidence.panels import LINES, MARKERS, make_grid, name_panel
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
    style_title,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from experiments.evidence import Evidence

ROLE_LOOKS = {"uniform": (BLUE, "s"), "best": (GREEN, "^"), "worst": (VERMILION, "v")}


def plot_rates(evidence: Evidence) -> Figure:
    """Draw uniform's loss over learning rates, a panel per setting; the dashed line is the rate used.

    Raises:
        InputError: If no setting has a curve.
    """
    found = [(entry.name, entry.rates) for entry in evidence.settings if entry.rates is not None]
    if not found:
        raise InputError("No figure of learning rates: no setting has a curve.")
    figure, axes = make_grid(len(found), across="learning rate", up="loss of uniform (nats per token)")
    for axis, (name, curve) in zip(axes, found, strict=True):
        axis.plot(curve.rates, curve.losses, marker="o", markersize=3.5, color=BLUE, linewidth=1.3)
        if curve.tuned is not None:
            axis.axvline(curve.tuned, color=MUTED, linewidth=0.9, linestyle=(0, (4, 2)))
        axis.set_xscale("log")
        axis.set_xticks(curve.rates, [f"{rate:g}" for rate in curve.rates])
        axis.set_xticks([], minor=True)
        name_panel(axis, name)
    return figure


def plot_exponents(evidence: Evidence) -> Figure:
    """Draw each allocation's gain under the scaling exponents, a panel per setting; a line is an allocation.

    Raises:
        InputError: If no setting has several exponents.
    """
    found = [(entry.name, entry.exponents) for entry in evidence.settings if len(entry.exponents) > 1]
    if not found:
        raise InputError("No figure of exponents: no setting has several.")
    figure, axes = make_grid(
        len(found), across="exponent γ of LoRA scale ∝ r^−γ (diamonds: mean)", up="gain (nats per token)"
    )
    for axis, (name, exponents) in zip(axes, found, strict=True):
        places = [each.exponent for each in exponents]
        gains = np.array([each.gains for each in exponents])
        axis.plot(places, gains, color=SKY, marker=".", markersize=4, linewidth=0.9)
        axis.plot(places, gains.mean(axis=1), color=VERMILION, marker="D", markersize=4, linewidth=1.6)
        axis.axhline(0, color=INK, linewidth=0.6)
        axis.set_xticks(places)
        name_panel(axis, name)
    return figure


def plot_recovery(evidence: Evidence) -> Figure:
    """Draw what uniform recovers over the tokens trained on, as a share of what the longest run recovers.

    Raises:
        InputError: If no setting has uniform at two lengths.
    """
    found = [
        (entry.name, entry.curve)
        for entry in evidence.settings
        if entry.curve is not None and entry.curve.last_doubling is not None
    ]
    if not found:
        raise InputError("No figure of recovery: no setting has uniform at several lengths.")
    figure, (axis,) = make_figure(height=4.2)
    colours = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
    for index, (name, curve) in enumerate(found):
        start = curve.pruned_loss or curve.losses[0]
        shares = 100 * (start - np.array(curve.losses)) / (start - curve.losses[-1])
        axis.plot(
            np.array(curve.tokens) / 1000, shares, color=colours[index % len(colours)], linewidth=1.4,
            linestyle=LINES[(index // len(colours)) % len(LINES)], marker=MARKERS[index % len(MARKERS)],
            markersize=3.5, label=name,
        )  # fmt: skip
    axis.set_xscale("log")
    axis.set_xlabel("training tokens (thousands)")
    axis.set_ylabel("recovered (% of the longest run)")
    style_title(axis, "Recovery of uniform, one run per point")
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=7.5, labelcolor=INK)
    return figure


def plot_benchmarks(evidence: Evidence) -> Figure:
    """Draw mean accuracy against held-out loss, a panel per setting; bars are standard errors of the items.

    Raises:
        InputError: If no setting has scored models.
    """
    found = [(entry.name, entry.accuracy) for entry in evidence.settings if entry.accuracy is not None]
    if not found:
        raise InputError("No figure of benchmarks: no setting has scored models.")
    figure, axes = make_grid(len(found), across="held-out loss (nats per token)", up="mean accuracy (points)")
    for axis, (name, accuracy) in zip(axes, found, strict=True):
        for role, (colour, marker) in ROLE_LOOKS.items():
            models = [model for model in accuracy.models if model.role == role]
            if models:
                axis.errorbar(
                    [model.loss for model in models], [100 * model.accuracy for model in models],
                    yerr=[100 * (model.error or 0.0) for model in models], fmt=marker, color=colour,
                    markersize=4, elinewidth=0.7, label=role,
                )  # fmt: skip
        name_panel(axis, name)
    axes[0].legend(frameon=False, fontsize=7, labelcolor=INK)
    return figure
