"""One look for all figures: size, fonts, colours that colour-blind readers can tell apart, and export."""

from __future__ import annotations

import io
import re
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 7.0  # inches; 700 px at 100 dpi
NARROW = 3.6  # inches: a figure for a telephone's screen, with letters of the same size
INK = "#20262e"
MUTED = "#6b7480"
GRID = "#d9dde2"
BAND = "#e7eaee"

# Okabe and Ito's palette: distinct under the common colour-vision deficiencies, and never the only cue.
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9"

COLOURS = {"dense": MUTED, "pruned": ORANGE, "uniform": BLUE, "searched": VERMILION}
OTHER_COLOURS = (GREEN, PURPLE, SKY)

# Names under which a page may restyle the colours, for example on a dark background.
ROLES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    BAND: "band",
    BLUE: "blue",
    ORANGE: "orange",
    GREEN: "green",
    VERMILION: "vermilion",
    PURPLE: "purple",
    SKY: "sky",
}

_SETTINGS = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8.0,
    "axes.labelsize": 9.5,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "hatch.linewidth": 0.6,
    "svg.fonttype": "path",
    "svg.hashsalt": "rankadaptor",
}


def make_figure(
    *, height: float, rows: int = 1, ratios: tuple[float, ...] | None = None, width: float = WIDTH
) -> tuple[Figure, list[Axes]]:
    """Make an empty figure with `rows` panels stacked over one horizontal axis.

    Args:
        height: Inches.
        rows: Number of panels.
        ratios: Relative heights of the panels, length `rows`.
        width: Inches.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(_SETTINGS):  # type: ignore[arg-type]
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(
            rows, 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": ratios or (1,) * rows}
        )
        axes = [panels[row, 0] for row in range(rows)]
        for axis in axes:
            axis.grid(visible=True, axis="y")
            axis.tick_params(length=3)
    return figure, axes


def is_narrow(axis: Axes) -> bool:
    """Tell whether a panel is on a figure too narrow for its usual title and legend."""
    return bool(axis.figure.get_figwidth() < 0.7 * WIDTH)  # type: ignore[union-attr]


def make_room(axis: Axes, *, lines: int) -> None:
    """Raise the upper end of a panel's y axis so that a legend of some lines stands above the data."""
    low, high = axis.get_ylim()
    axis.set_ylim(low, high + 0.08 * lines * (high - low))


def style_title(axis: Axes, title: str) -> None:
    """Set a panel's title, left-aligned and bold; on a narrow figure it may take several lines."""
    if is_narrow(axis):
        title = textwrap.fill(title, 32)
    axis.set_title(title, loc="left", fontsize=10.5, fontweight="bold", color=INK, pad=8)


def style_legend(axis: Axes, *, columns: int = 4, outside: bool = False) -> None:
    """Draw a legend without frame, inside where it covers least or below the panel.

    On a narrow figure it stands in one column, with room made for it above the data.
    """
    if is_narrow(axis):
        columns = 1
        make_room(axis, lines=len(axis.get_legend_handles_labels()[0]))
    if outside:
        axis.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.16),
            ncols=columns,
            frameon=False,
            fontsize=8.5,
            labelcolor=INK,
        )
    else:
        axis.legend(loc="best", ncols=columns, frameon=False, fontsize=8.5, labelcolor=INK)


def to_png(figure: Figure, *, dots_per_inch: int = 160) -> bytes:
    """Return the figure as PNG on white, without a date, so that equal figures are equal files."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=dots_per_inch, facecolor="white", metadata={"Software": None})
    return stream.getvalue()


def to_svg(figure: Figure, *, name: str, description: str) -> str:
    """Return the figure as an SVG element to put inside a page.

    Colours become CSS variables with the printed colour as fallback (`var(--ra-ink, #20262e)`), so the page
    decides how they look on a dark background. Identifiers get `name` in front, so that several figures fit
    in one page.

    Args:
        figure: The figure.
        name: Short name, unique in the page.
        description: What the figure shows, for readers who cannot see it.
    """
    import matplotlib as mpl

    stream = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "rankadaptor"}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'xlink:href="#', f'xlink:href="#{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    for colour, role in ROLES.items():
        text = text.replace(colour, f"var(--ra-{role}, {colour})")
    label = description.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    head, rest = text.split(">", 1)
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    return f'{head} role="img" aria-label="{label}">{rest}'
