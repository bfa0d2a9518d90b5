"""Figures of a run, each drawn from its result document and returned as a matplotlib `Figure`.

Nothing touches matplotlib's global state, so figures can be drawn in threads, servers and notebooks alike. A
figure whose data a run does not have raises `InputError` with one sentence that says what is missing.
"""

from __future__ import annotations

from rankadaptor.plots.accuracy import plot_accuracy
from rankadaptor.plots.frontier import plot_sizes, plot_speeds
from rankadaptor.plots.layers import plot_layers
from rankadaptor.plots.losses import plot_curves
from rankadaptor.plots.ranks import plot_ranks
from rankadaptor.plots.search import plot_predictions, plot_search
from rankadaptor.plots.style import to_png, to_svg

__all__ = [
    "plot_accuracy",
    "plot_curves",
    "plot_layers",
    "plot_predictions",
    "plot_ranks",
    "plot_search",
    "plot_sizes",
    "plot_speeds",
    "to_png",
    "to_svg",
]
