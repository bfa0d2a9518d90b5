"""Ranks over depth, beside what each block lost to pruning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rankadaptor.plots.style import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    ORANGE,
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

MAX_BAR_KINDS = 2
_MISSING = "No ranks to draw: the run stopped before it chose an allocation."


def plot_ranks(document: Document, *, allocation: str = "candidate", width: float = WIDTH) -> Figure:
    """Draw the rank of every slot over depth, and under it what pruning took from each block.

    Slots that span a block or half a block are drawn as bars; one slot per linear gives a table of cells,
    coloured by how far the rank lies from uniform's. Blocks without a slot stay empty.

    Args:
        document: The whole result document.
        allocation: `candidate` draws what the search proposed, `allocation` what the verdict recommends.
        width: Inches.

    Raises:
        InputError: If the run has no space or no allocation yet.
    """
    slots = get_part(document, "space", "slots", sentence=_MISSING)
    values, origin = _choose_values(document, allocation)
    reference = document["result"]["space"].get("reference") or []
    lost = (document["result"].get("pruning") or {}).get("blocks") or []
    n_blocks = 1 + max([slot["block"] for slot in slots] + [block["block"] for block in lost])
    kinds = list(dict.fromkeys(slot["kind"] for slot in slots))
    ranks = _arrange(slots, values, kinds, n_blocks)
    uniform = _arrange(slots, reference, kinds, n_blocks) if len(reference) == len(slots) else None

    bars = len(kinds) <= MAX_BAR_KINDS
    top = 2.3 if bars else 0.55 + 0.3 * len(kinds)
    rows = 2 if lost else 1
    figure, axes = make_figure(
        height=top + (2.0 if lost else 0.5), rows=rows, ratios=(top, 1.35)[:rows], width=width
    )
    style_title(axes[0], f"Rank per {'block' if kinds == ['block'] else 'slot'} ({origin})")
    if bars:
        _draw_bars(axes[0], ranks, uniform, kinds)
    else:
        _draw_cells(axes[0], ranks, uniform, kinds)
    if lost:
        _draw_losses(axes[1], lost)
    axes[-1].set_xlabel("block (0 is nearest the input)")
    axes[-1].set_xlim(-0.6, n_blocks - 0.4)
    step = max(1, int(np.ceil(n_blocks / 16)))
    axes[-1].set_xticks(range(0, n_blocks, step))
    return figure


def _choose_values(document: Document, allocation: str) -> tuple[list[int], str]:
    verdict = document["result"].get("verdict") or {}
    if verdict.get(allocation):
        text = "proposed by the search" if allocation == "candidate" else "recommended by the verdict"
        return list(verdict[allocation]), text
    best = get_part(document, "search", "best", sentence=_MISSING)
    return list(best), "best of the search, not confirmed"


def _arrange(slots: list[dict[str, Any]], values: list[int], kinds: list[str], n_blocks: int) -> np.ndarray:
    """Arrange one value per slot as `(kinds, blocks)`, NaN where there is no slot."""
    table = np.full((len(kinds), n_blocks), np.nan)
    for slot, value in zip(slots, values, strict=True):
        table[kinds.index(slot["kind"]), slot["block"]] = value
    return table


def _draw_bars(axis: Axes, ranks: np.ndarray, uniform: np.ndarray | None, kinds: list[str]) -> None:
    blocks = np.arange(ranks.shape[1])
    width = 0.8 / len(kinds)
    for index, kind in enumerate(kinds):
        offset = (index - (len(kinds) - 1) / 2) * width
        colour = (VERMILION, BLUE)[index]
        hatch = (None, "////")[index]
        axis.bar(
            blocks + offset, np.nan_to_num(ranks[index]), width * 0.94, color=colour, label=kind, hatch=hatch,
            edgecolor="white", linewidth=0,
        )  # fmt: skip
        for block in blocks[ranks[index] == 0]:
            axis.text(block + offset, 0, "0", ha="center", va="bottom", fontsize=7, color=colour)
    if uniform is not None:
        level = np.nanmax(uniform, axis=0)
        axis.step(
            blocks, level, where="mid", color=INK, linewidth=1.2, linestyle=(0, (4, 2)), label="uniform"
        )
    axis.set_ylabel("rank")
    axis.set_ylim(
        0, max(1.0, float(np.nanmax(ranks)), float(np.nanmax(uniform)) if uniform is not None else 0) * 1.22
    )
    axis.locator_params(axis="y", integer=True)
    axis.legend(loc="upper right", ncols=len(kinds) + 1, frameon=False, fontsize=8.5, labelcolor=INK)


def _draw_cells(axis: Axes, ranks: np.ndarray, uniform: np.ndarray | None, kinds: list[str]) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list(
        "less_more", ["#0072b3", "#9cc7e4", "#f4f4f2", "#f3b78f", "#d55e01"]
    ).with_extremes(bad=(0.0, 0.0, 0.0, 0.0))
    base = uniform if uniform is not None else np.full_like(ranks, float(np.nanmean(ranks)))
    # Ranks act on a logarithmic scale; half a rank stands in for none, so that 0 has a place on it.
    distance = np.log2(np.maximum(ranks, 0.5) / np.maximum(base, 0.5))
    limit = max(1.0, float(np.nanmax(np.abs(distance))))
    image = axis.pcolormesh(
        np.arange(ranks.shape[1] + 1) - 0.5, np.arange(len(kinds) + 1) - 0.5, np.ma.masked_invalid(distance),
        cmap=colours, vmin=-limit, vmax=limit, edgecolors="white", linewidth=0.8,
    )  # fmt: skip
    size = 8.0 if ranks.shape[1] <= 20 else 6.6
    room = 0.7 * 72 * axis.figure.get_figwidth() / ranks.shape[1]  # type: ignore[union-attr]
    shown = ranks if room > 1.4 * size else np.full_like(ranks, np.nan)  # numbers would cover each other
    for row, column in zip(*np.nonzero(~np.isnan(shown)), strict=True):
        dark = abs(distance[row, column]) > 0.75 * limit
        axis.text(
            column, row, f"{ranks[row, column]:.0f}", ha="center", va="center", fontsize=size,
            color="#ffffff" if dark else "#111111",
        )  # fmt: skip
    axis.set_yticks(range(len(kinds)), kinds)
    axis.invert_yaxis()
    axis.grid(visible=False)
    axis.tick_params(length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)
    bar = axis.figure.colorbar(image, ax=axis, pad=0.012, fraction=0.03, aspect=18)
    bar.outline.set_visible(False)
    ends = [-limit, 0.0, limit]
    bar.set_ticks(ends, labels=[f"{2**limit:.2g}× less", "uniform", f"{2**limit:.2g}× more"])
    bar.ax.tick_params(labelsize=7.5, length=0)


def _draw_losses(axis: Axes, lost: list[dict[str, Any]]) -> None:
    blocks = [block["block"] for block in lost]
    removed = [100 * (block.get("removed_share") or 0.0) for block in lost]
    importance = np.array([float(block.get("lost_importance") or 0.0) for block in lost])
    style_title(axis, "What pruning took from the block")
    axis.bar(blocks, removed, 0.8, color=ORANGE, label="parameters removed")
    if importance.any():
        axis.plot(
            blocks,
            100 * importance,
            color=GREEN,
            marker="o",
            markersize=3.5,
            linewidth=1.2,
            label="importance lost",
        )
    axis.set_ylabel("% of the block")
    axis.set_ylim(0, max(5.0, *removed, *(axis.get_ylim()[1:])) * 1.25)
    axis.spines["bottom"].set_color(MUTED)
    style_legend(axis, columns=2)
