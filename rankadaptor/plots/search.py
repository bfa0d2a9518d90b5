"""How a search went: what was predicted, what was measured, and what lies inside the noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rankadaptor.errors import InputError
from rankadaptor.plots.style import (
    BAND,
    BLUE,
    INK,
    MUTED,
    VERMILION,
    WIDTH,
    make_figure,
    style_legend,
    style_title,
)
from rankadaptor.results import Document, get_part

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MISSING = "No search to draw: the run has no measured allocation yet."
MIN_PAIRS_FOR_RANK_CORRELATION = 4


def plot_search(document: Document, *, width: float = WIDTH) -> Figure:
    """Draw each measured gain and the best so far over the evaluations of the search.

    Raises:
        InputError: If nothing has been measured.
    """
    history = _read_history(document)
    steps = np.array([entry["evaluation"] for entry in history])
    gains = np.array([_number(entry.get("gain")) for entry in history])
    best = np.fmax.accumulate(np.fmax(gains, 0.0))  # uniform, whose gain is 0, is always available
    figure, (axis,) = make_figure(height=3.2, width=width)
    _draw_noise(axis, document)
    good = ~np.isnan(gains)
    axis.plot(
        steps,
        best,
        color=VERMILION,
        linewidth=1.8,
        drawstyle="steps-post",
        label="best so far, uniform included",
    )
    axis.plot(steps[good], gains[good], "o", color=BLUE, markersize=5, label="measured")
    if (~good).any():
        floor = float(np.nanmin(gains)) if good.any() else 0.0
        axis.plot(steps[~good], np.full((~good).sum(), min(floor, 0.0)), "x", color=INK, label="failed")
    style_title(axis, "Gain over uniform at each evaluation")
    axis.set_xlabel("evaluation (one short fine-tune each)")
    axis.set_ylabel("gain (nats per token),\npositive = better than uniform", fontsize=8.5)
    axis.locator_params(axis="x", integer=True)
    axis.set_xlim(0.4, float(steps.max()) + 0.6)
    _draw_legend(axis)
    return figure


def plot_predictions(document: Document, *, width: float = WIDTH) -> Figure:
    """Draw predicted against measured gain of every allocation that was predicted before it was measured.

    Error bars are one predicted standard deviation; the band is the noise of a single paired measurement.
    Kendall's rank correlation is written beside it: inside one setting it is the figure that says whether
    predictions help.

    Raises:
        InputError: If no measured allocation has a prediction.
    """
    history = [entry for entry in _read_history(document) if entry.get("predicted_mean") is not None]
    pairs = np.array(
        [
            (entry["predicted_mean"], _number(entry.get("predicted_std")), _number(entry.get("gain")))
            for entry in history
            if entry.get("gain") is not None
        ],
        dtype=float,
    )
    if not len(pairs):
        raise InputError("No predictions to draw: no measured allocation has one.")
    predicted, spread, measured = pairs.T
    figure, (axis,) = make_figure(height=4.0, width=width)
    axis.grid(visible=True, axis="both")
    _draw_noise(axis, document)
    low = min(float(np.min(predicted - np.nan_to_num(spread))), float(measured.min()), 0.0)
    high = max(float(np.max(predicted + np.nan_to_num(spread))), float(measured.max()), 0.0)
    room = 0.06 * (high - low or 1e-3)
    axis.plot(
        [low - room, high + room],
        [low - room, high + room],
        color=MUTED,
        linestyle=":",
        label="prediction = measurement",
    )
    axis.errorbar(
        predicted, measured, xerr=np.nan_to_num(spread), fmt="o", color=BLUE, ecolor=BLUE, elinewidth=0.9,
        markersize=5, capsize=2, label="allocation ± 1 predicted SD",
    )  # fmt: skip
    axis.plot(
        [0],
        [0],
        marker="D",
        markersize=7,
        color=VERMILION,
        linestyle="none",
        label="uniform (0 by definition)",
    )
    style_title(axis, f"Predicted against measured gain{_describe_correlation(predicted, measured)}")
    axis.set_xlabel("predicted gain (nats per token)")
    axis.set_ylabel("measured gain (nats per token)")
    axis.set_xlim(low - room, high + room)
    span = max(float(measured.max()), 0.0) - min(float(measured.min()), 0.0) or 1e-3
    axis.set_ylim(min(float(measured.min()), 0.0) - 0.2 * span, max(float(measured.max()), 0.0) + 0.35 * span)
    _draw_legend(axis)
    return figure


def _read_history(document: Document) -> list[dict[str, Any]]:
    history: list[dict[str, Any]] = get_part(document, "search", "history", sentence=_MISSING)
    return history


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _draw_noise(axis: Axes, document: Document) -> None:
    noise = (document["result"].get("verdict") or {}).get("noise")
    if noise:
        axis.axhspan(-noise, noise, color=BAND, zorder=0.5, label=f"noise of one pair, ±{noise:.4f}")
    axis.axhline(0, color=INK, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)


def _draw_legend(axis: Axes) -> None:
    style_legend(axis, columns=2)


def _describe_correlation(predicted: np.ndarray, measured: np.ndarray) -> str:
    if len(predicted) < MIN_PAIRS_FOR_RANK_CORRELATION or np.ptp(predicted) == 0 or np.ptp(measured) == 0:
        return ""
    from scipy.stats import kendalltau

    return f" (Kendall τ {float(kendalltau(predicted, measured).statistic):.2f}, n = {len(predicted)})"
