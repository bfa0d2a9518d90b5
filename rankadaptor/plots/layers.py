"""Widths and types over depth: what a compression kept of every layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rankadaptor.plots.style import (
    BLUE,
    GREEN,
    GRID,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    WIDTH,
    make_figure,
    style_title,
)
from rankadaptor.results.document import Document, get_part

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = (BLUE, SKY, GREEN, ORANGE, VERMILION, PURPLE)
TITLES = {"attention": "Attention: share of the KV groups", "mlp": "MLP: share of the channels"}


def plot_layers(document: Document, *, width: float = WIDTH) -> Figure:
    """Plot the share of every attention and MLP that is kept, coloured by its type.

    Raises:
        InputError: If nothing is chosen yet.
    """
    from matplotlib.ticker import MaxNLocator

    slots = get_part(document, "chosen", "slots", sentence="Nothing is chosen yet.")
    by_kind = {kind: [slot for slot in slots if slot["kind"] == kind] for kind in TITLES}
    types = list(
        dict.fromkeys(slot["label"][1] for kind in TITLES for slot in by_kind[kind] if slot["label"][0])
    )
    colours = {kind: COLOURS[number % len(COLOURS)] for number, kind in enumerate(sorted(types))}
    figure, axes = make_figure(height=4.2, rows=2, width=width)
    for axis, (kind, title) in zip(axes, TITLES.items(), strict=True):
        _draw(axis, by_kind[kind], colours)
        style_title(axis, title)
        axis.set_ylim(0, 1.05)
    axes[-1].set_xlabel("block")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    _label(axes[0], colours)
    return figure


def _draw(axis: Axes, slots: Sequence[Mapping[str, Any]], colours: Mapping[str, str]) -> None:
    for slot in slots:
        kept, kind = slot["label"]
        share = kept / slot["full"] if slot["full"] else 0.0
        axis.bar(slot["block"], 1.0, width=0.8, color=GRID, linewidth=0, zorder=1)
        if kept:
            axis.bar(slot["block"], share, width=0.8, color=colours[kind], linewidth=0, zorder=2)
        else:
            axis.text(slot["block"], 0.04, "×", ha="center", color=INK, fontsize=8, zorder=3)


def _label(axis: Axes, colours: Mapping[str, str]) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=colour, label=kind) for kind, colour in colours.items()]
    axis.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0.0, 1.12), ncols=max(len(handles), 1),
        frameon=False, fontsize=8.5, labelcolor=INK,
    )  # fmt: skip
