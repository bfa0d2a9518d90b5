"""The figure of the study: loss over tokens, each recovery of one pruned model a line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.recovery.rows import LLM_PRUNER_NAME, Row
from experiments.recovery.targets import TEXTS
from rankadaptor.files import write_bytes
from rankadaptor.plots.style import (
    BLUE,
    MUTED,
    OTHER_COLOURS,
    VERMILION,
    make_figure,
    style_legend,
    style_title,
    to_png,
)

FIGURE = Path("experiments/results/figures/recovery.png")
MARKERS = "osD^vPX"


def draw_losses(rows: Sequence[Row], *, file: Path) -> None:
    """Draw the loss on both texts over the tokens of the recovery, for the model with the most lengths."""
    shown = choose_model(rows)
    figure, axes = make_figure(height=5.6, rows=2)
    lines: dict[str, list[Row]] = {}
    for row in shown:
        lines.setdefault(name_line(row), []).append(row)
    colours = dict(zip(lines, (BLUE, VERMILION, *OTHER_COLOURS, *[MUTED] * len(lines)), strict=False))
    for axis, (text, name) in zip(axes, TEXTS.items(), strict=True):
        for (label, own), marker in zip(lines.items(), MARKERS * len(lines), strict=False):
            best: dict[int, float] = {}
            for row in own:
                best[row["tokens"]] = min(row[f"loss_{text}"], best.get(row["tokens"], float("inf")))
            places = sorted(best)
            axis.plot(
                places, [best[each] for each in places], marker=marker, color=colours[label], label=label
            )
        axis.axhline(
            shown[0][f"loss_{text}_dense"], color=MUTED, linestyle="--", linewidth=1, label="dense model"
        )
        axis.set_xscale("log")
        axis.set_ylabel("nats per token")
        style_title(axis, f"Loss on the {name}: {shown[0]['widths']} widths, {shown[0]['ratio']:.0%} removed")
    axes[-1].set_xlabel("tokens of the recovery")
    style_legend(axes[0], columns=2)
    write_bytes(file, to_png(figure))


def choose_model(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of the pruned model that has the most lengths and kinds of training."""
    groups: dict[tuple[str, str, float], list[Row]] = {}
    for row in rows:
        if row["bits"] is None:
            groups.setdefault((row["setting"], row["widths"], row["ratio"]), []).append(row)
    return max(groups.values(), key=lambda own: (len({row["tokens"] for row in own}), len(own)))


def name_line(row: Row) -> str:
    """Return the label of a row's line."""
    if row["method"] == LLM_PRUNER_NAME:
        return LLM_PRUNER_NAME
    return f"{row['method']}, {row['loss_kind']} loss"
