"""Small panels in a grid, one a setting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankadaptor.plots.style import WIDTH, make_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v")
COLUMNS = 4
PANEL_HEIGHT = 1.65  # inches


def make_grid(count: int) -> tuple[Figure, list[Axes]]:
    """Make `count` panels, each with axes of its own, in rows of up to `COLUMNS`."""
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    figure, (whole,) = make_figure(height=0.5 + PANEL_HEIGHT * rows)
    whole.remove()
    figure.set_size_inches(WIDTH, 0.5 + PANEL_HEIGHT * rows)
    axes = []
    for place in range(count):
        axis = figure.add_subplot(rows, columns, place + 1)
        axis.tick_params(length=2, labelsize=7)
        axis.grid(visible=True, axis="y", linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_axisbelow(True)
        axes.append(axis)
    return figure, axes
