"""Held-out loss during recovery, between the pruned model and the dense one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rankadaptor.errors import InputError
from rankadaptor.plots.style import COLOURS, INK, OTHER_COLOURS, WIDTH, make_figure, style_legend, style_title
from rankadaptor.results import Document, get_part

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LINES = ("-", "--", "-.", ":")
_MARKERS = ("o", "s", "^", "D", "v")


def plot_curves(document: Document, *, width: float = WIDTH) -> Figure:
    """Draw held-out loss against training tokens for uniform, searched and every other recovered baseline.

    The pruned model before recovery and the dense model are horizontal lines.

    Raises:
        InputError: If no recovery run kept a curve.
    """
    sentence = "No recovery curves to draw: no recovery run kept any."
    recovered = get_part(document, "recovered", sentence=sentence)
    curves = {name: run["curve"] for name, run in recovered.items() if run.get("curve")}
    if not curves:
        raise InputError(sentence)
    losses = document["result"].get("losses") or {}
    distances = _measure_distances(curves)
    figure, axes = make_figure(
        height=5.2 if distances else 3.4,
        rows=2 if distances else 1,
        ratios=(3, 2)[: 2 if distances else 1],
        width=width,
    )
    axis = axes[0]
    spare = iter(OTHER_COLOURS * 3)
    for index, (name, curve) in enumerate(curves.items()):
        look = {
            "linestyle": _LINES[index % len(_LINES)],
            "marker": _MARKERS[index % len(_MARKERS)],
            "markersize": 4,
            "linewidth": 1.6,
            "color": COLOURS.get(name) or next(spare),
            "label": name,
        }
        axis.plot([point["tokens"] / 1000 for point in curve], [point["loss"] for point in curve], **look)
        if name in distances:
            axes[1].plot(*distances[name], **look)
    for name, style in (("pruned", (0, (1, 1.5))), ("dense", (0, (5, 2)))):
        if losses.get(name) is not None:
            axis.axhline(losses[name], color=COLOURS[name], linestyle=style, linewidth=1.4)
            axis.annotate(
                f"{name} {losses[name]:.3f}", (1.0, losses[name]), xycoords=("axes fraction", "data"),
                xytext=(-2, 3), textcoords="offset points", ha="right", va="bottom", fontsize=8.5, color=INK,
            )  # fmt: skip
    style_title(axis, "Held-out loss during recovery")
    axes[-1].set_xlabel("training tokens (thousands)")
    axis.set_ylabel("loss (nats per token)")
    axis.margins(y=0.12)
    axis.set_xlim(left=0)
    style_legend(axis, columns=2)
    if distances:
        axes[1].axhline(0, color=INK, linewidth=0.9, linestyle=(0, (4, 2)))
        style_title(axes[1], "Gain over uniform at the same step")
        axes[1].set_ylabel("nats per token")
        axes[1].margins(y=0.18)
        style_legend(axes[1], columns=2)
    return figure


def _measure_distances(curves: dict[str, Any]) -> dict[str, tuple[list[float], list[float]]]:
    """Return tokens in thousands and uniform's loss minus each curve's, at the steps that both have."""
    base = {point["step"]: point["loss"] for point in curves.get("uniform", [])}
    shared = {
        name: [point for point in curve if point["step"] in base]
        for name, curve in curves.items()
        if name != "uniform"
    }
    return {
        name: (
            [point["tokens"] / 1000 for point in points],
            [base[point["step"]] - point["loss"] for point in points],
        )
        for name, points in shared.items()
        if points
    }
