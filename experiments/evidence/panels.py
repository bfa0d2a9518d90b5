"""A grid of small panels, one per setting, with explicit positions, since layout engines take seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankadaptor.plots.style import GRID, INK, MUTED, WIDTH, make_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v")
COLUMNS = 3
PANEL_HEIGHT, FOOT, HEAD = 1.75, 0.6, 0.3  # inches
LEFT, RIGHT = 0.115, 0.985  # shares of the width


def make_grid(count: int, *, across: str, up: str) -> tuple[Figure, list[Axes]]:
    """Make `count` panels with axes of their own, in rows of up to `COLUMNS`, under one pair of labels."""
    from matplotlib.ticker import MaxNLocator

    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    height = FOOT + HEAD + PANEL_HEIGHT * rows
    figure, (whole,) = make_figure(height=height)
    whole.remove()
    figure.set_layout_engine("none")
    grid = figure.add_gridspec(
        rows, columns, left=LEFT, right=RIGHT, bottom=FOOT / height, top=1 - HEAD / height, wspace=0.42,
        hspace=0.5,
    )  # fmt: skip
    axes = []
    for place in range(count):
        axis = figure.add_subplot(grid[place // columns, place % columns])
        axis.tick_params(length=2, labelsize=7, color=MUTED, labelcolor=INK)
        axis.grid(visible=True, axis="y", linewidth=0.6, color=GRID)
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["left", "bottom"]].set_color(MUTED)
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.yaxis.set_major_locator(MaxNLocator(5))
        axis.set_axisbelow(True)
        axes.append(axis)
    figure.text((LEFT + RIGHT) / 2, 0.12 / height, across, ha="center", fontsize=9, color=INK)
    figure.text(0.012, 0.5, up, va="center", rotation="vertical", fontsize=9, color=INK)
    figure.set_size_inches(WIDTH, height)
    return figure, axes


def name_panel(axis: Axes, name: str) -> None:
    """Set a panel's title, small, so that long names of settings fit."""
    axis.set_title(name, loc="left", fontsize=7.5, color=INK, pad=4)
