"""Figures of the evidence: regimes, effects beside noise, seeds, what explains gains, fidelity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from experiments.evidence.factors import FACTORS
from experiments.evidence.panels import LINES, MARKERS, make_grid, name_panel
from experiments.evidence.regimes import SMALLEST_SHARE, WORDS
from rankadaptor.errors import InputError
from rankadaptor.plots.style import (
    BAND,
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
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from experiments.evidence import Evidence, SettingEvidence

ROW = 0.24  # inches a setting
LINEAR_UP_TO = 1.0  # per cent; beyond it the axis is logarithmic, to fit very bad allocations
WORD_LOOKS = dict(zip(WORDS, ((VERMILION, "o"), (BLUE, "s"), (MUTED, "^")), strict=True))
FACTOR_COLOURS = dict(zip(FACTORS, (BLUE, ORANGE, VERMILION, GREEN, PURPLE), strict=True))


def plot_regimes(evidence: Evidence) -> Figure:
    """Draw the best allocation's gain with its interval as a share of what uniform recovers, by setting.

    Raises:
        InputError: If no setting is decided.
    """
    entries = [entry for entry in evidence.settings if entry.regime.share is not None]
    if not entries:
        raise InputError("No figure of regimes: no setting has the repeats that a decision needs.")
    entries.sort(key=lambda entry: entry.regime.share or 0.0)
    figure, (axis,) = make_figure(height=1.2 + ROW * len(entries))
    for row, entry in enumerate(entries):
        regime = entry.regime
        share, low, high = (100 * (each or 0) for each in (regime.share, regime.share_low, regime.share_high))
        colour, marker = WORD_LOOKS[regime.word]
        axis.plot([low, high], [row, row], color=colour, linewidth=1.6)
        axis.plot(share, row, marker=marker, color=colour, markersize=5, linestyle="none")
    for word, (colour, marker) in WORD_LOOKS.items():
        if any(entry.regime.word == word for entry in entries):
            axis.plot([], [], color=colour, marker=marker, markersize=5, label=word)
    axis.axvline(0, color=INK, linewidth=0.9)
    axis.axvline(
        100 * SMALLEST_SHARE, color=MUTED, linewidth=0.9, linestyle=(0, (4, 2)), label="smallest share"
    )
    _label_rows(axis, entries)
    axis.set_xlabel("gain of the best allocation (% of what uniform recovers)")
    style_title(axis, "Where allocation matters")
    style_legend(axis, columns=1)
    return figure


def plot_effects(evidence: Evidence) -> Figure:
    """Draw the gains of all allocations under one seed, beside the noise of one paired gain.

    Raises:
        InputError: If nothing was measured.
    """
    entries = [entry for entry in evidence.settings if entry.gains is not None and entry.regime.recovered]
    if not entries:
        raise InputError("No figure of effects: no allocation was measured.")
    figure, (axis,) = make_figure(height=1.2 + ROW * len(entries))
    for row, entry in enumerate(entries):
        scale = 100 / (entry.regime.recovered or 1.0)
        noise = entry.components.noise if entry.components else None
        if noise is not None:
            axis.fill_betweenx([row - 0.4, row + 0.4], -noise * scale, noise * scale, color=BAND, linewidth=0)
        gains = entry.gains.screened_gains * scale if entry.gains is not None else np.empty(0)
        places = row + 0.25 * np.linspace(-1, 1, len(gains))
        axis.plot(gains, places, ".", color=BLUE, markersize=4, alpha=0.7, linestyle="none")
    axis.axvline(0, color=INK, linewidth=0.9)
    axis.set_xscale("symlog", linthresh=LINEAR_UP_TO, linscale=1.0)
    _label_rows(axis, entries)
    axis.set_xlabel("gain under one seed (% of what uniform recovers; log beyond ±1)")
    style_title(axis, "All allocations (grey: one SD of the noise)")
    return figure


def plot_seeds(evidence: Evidence) -> Figure:
    """Draw gains under the screening seed against mean gains under the others, over repeated allocations.

    Raises:
        InputError: If no setting has repeats.
    """
    found = []
    for entry in evidence.settings:
        gains = entry.gains
        if gains is None or gains.gains.shape[1] < 2:
            continue
        others = np.delete(gains.gains, gains.screen, axis=1)
        kept = gains.screened & np.isfinite(others).any(axis=1)
        if kept.any():
            found.append((entry, gains.gains[kept, gains.screen], others[kept]))
    if not found:
        raise InputError("No figure of seeds: no allocation was repeated over seeds.")
    figure, axes = make_grid(
        len(found),
        across="gain under one seed (nats per token)",
        up="mean and range under the other seeds, nats per token",
    )
    for axis, (entry, one, others) in zip(axes, found, strict=True):
        means = np.nanmean(others, axis=1)
        low, high = np.nanmin(others, axis=1), np.nanmax(others, axis=1)
        axis.errorbar(
            one, means, yerr=np.vstack([means - low, high - means]), fmt="o", color=BLUE, markersize=3.5,
            elinewidth=0.8, ecolor=SKY,
        )  # fmt: skip
        ends = [float(min(one.min(), low.min())), float(max(one.max(), high.max()))]
        axis.plot(ends, ends, color=MUTED, linewidth=0.8, linestyle=(0, (1, 1.5)))
        axis.axhline(0, color=INK, linewidth=0.6)
        axis.axvline(0, color=INK, linewidth=0.6)
        name_panel(axis, entry.name)
    return figure


def plot_factors(evidence: Evidence) -> Figure:
    """Draw the explained share of the variance by factor, beside the explainable share.

    Raises:
        InputError: If no setting has enough allocations.
    """
    entries = [entry for entry in evidence.settings if entry.factors is not None and entry.factors.shares]
    if not entries:
        raise InputError("No figure of factors: no setting has enough allocations.")
    figure, (axis,) = make_figure(height=1.5 + ROW * len(entries))
    for row, entry in enumerate(entries):
        shares = entry.factors.shares if entry.factors is not None else None
        left, right = 0.0, 0.0
        for name in FACTORS:
            width = 100 * (shares or {}).get(name, 0.0)
            start = right if width >= 0 else left
            axis.barh(row, width, left=start, height=0.65, color=FACTOR_COLOURS[name], linewidth=0)
            left, right = (left, right + width) if width >= 0 else (left + width, right)
        if entry.components is not None and entry.components.own is not None:
            axis.plot(100 * entry.components.own, row, marker="|", color=INK, markersize=11, linestyle="none")
    for name, colour in FACTOR_COLOURS.items():
        axis.barh(0, 0, color=colour, label=name)
    axis.plot([], [], marker="|", color=INK, markersize=9, linestyle="none", label="explainable share")
    axis.axvline(0, color=INK, linewidth=0.9)
    _label_rows(axis, entries)
    axis.set_xlabel("share of the variance in gains (%)")
    style_title(axis, "What explains the gains")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8.5, labelcolor=INK)
    return figure


def plot_fidelity(evidence: Evidence) -> Figure:
    """Draw the rank correlation of short fine-tunes with the longest over their relative length.

    Raises:
        InputError: If no setting was measured at two lengths.
    """
    curves = {
        entry.name: [each for each in entry.fidelity if each.correlation is not None]
        for entry in evidence.settings
    }
    curves = {name: points for name, points in curves.items() if points}
    if not curves:
        raise InputError("No figure of fidelity: no setting has the same allocations at two lengths.")
    figure, (axis,) = make_figure(height=3.6)
    colours = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
    for index, (name, points) in enumerate(curves.items()):
        shares = [100 * point.share for point in points]
        found = [point.correlation for point in points if point.correlation is not None]
        rho = [each.spearman for each in found]
        axis.errorbar(
            shares, rho,
            yerr=[[one.spearman - one.low for one in found], [one.high - one.spearman for one in found]],
            color=colours[index % len(colours)], marker=MARKERS[index % len(MARKERS)], markersize=4.5,
            linestyle=LINES[index % len(LINES)], linewidth=1.5, elinewidth=0.8, capsize=2, label=name,
        )  # fmt: skip
    axis.axhline(0, color=INK, linewidth=0.9)
    axis.set_xscale("log")
    ticks = sorted({round(100 * point.share, 1) for points in curves.values() for point in points})
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_xticks([], minor=True)
    axis.set_xlim(ticks[0] * 0.9, 100)
    axis.set_xlabel("length (% of the longest fine-tune)")
    axis.set_ylabel("Spearman's ρ with the longest")
    axis.set_ylim(-1.05, 1.1)
    style_title(axis, "Do short fine-tunes order allocations as long ones do?")
    style_legend(axis, columns=2)
    return figure


def _label_rows(axis: Axes, entries: list[SettingEvidence]) -> None:
    axis.set_yticks(range(len(entries)), [entry.name for entry in entries])
    axis.set_ylim(-0.7, len(entries) - 0.3)
    axis.grid(visible=True, axis="x")
    axis.grid(visible=False, axis="y")
