"""The front: loss over file size and over speed, with every measured file and the chosen one marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rankadaptor.errors import InputError
from rankadaptor.plots.style import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    PURPLE,
    VERMILION,
    WIDTH,
    is_narrow,
    make_figure,
    style_legend,
    style_title,
)
from rankadaptor.results.document import Document, get_part

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS: Mapping[tuple[str, bool], tuple[str, str, str]] = {
    ("stock", False): ("stock types of the dense model", BLUE, "o"),
    ("stock", True): ("stock types after the same recovery", GREEN, "s"),
    ("baseline", False): ("simple rules", ORANGE, "^"),
    ("baseline", True): ("simple rules after the same recovery", ORANGE, "^"),
    ("sequential", False): ("widths first, types second", PURPLE, "D"),
    ("sequential", True): ("widths first, types second, recovered", PURPLE, "D"),
}
SPEEDS = {
    "prompt_tokens_per_second": "prompt tokens per second",
    "generate_tokens_per_second": "generated tokens per second",
}
HEIGHT = 3.4


def plot_sizes(document: Document, *, width: float = WIDTH, part: str = "judging") -> Figure:
    """Plot loss over the size of the file.

    Args:
        document: The whole result document.
        width: Inches.
        part: Judging text whose loss is shown.

    Raises:
        InputError: If nothing was measured on this text.
    """
    points = _read_points(document, part)
    figure, (axis,) = make_figure(height=HEIGHT, width=width)
    _scatter(axis, [(point["bytes"] / 1e6, point["losses"][part], point) for point in points])
    axis.set_xlabel("size of the file in MB")
    _finish(axis, document, part, "Loss over file size")
    return figure


def plot_speeds(document: Document, *, width: float = WIDTH, part: str = "judging") -> Figure:
    """Plot loss over generated tokens per second on the engine.

    Raises:
        InputError: If no speed was measured.
    """
    key = "generate_tokens_per_second"
    points = [point for point in _read_points(document, part) if point.get("speed")]
    if not points:
        raise InputError("No speed was measured: export.engine is false.")
    figure, (axis,) = make_figure(height=HEIGHT, width=width)
    _scatter(axis, [(point["speed"][key], point["losses"][part], point) for point in points])
    axis.set_xlabel(f"{SPEEDS[key]}, one thread of llama.cpp")
    _finish(axis, document, part, "Loss over speed")
    return figure


def _read_points(document: Document, part: str) -> Sequence[Mapping[str, Any]]:
    points = get_part(document, "points", sentence="The run has measured no file yet.")
    found = [point for point in points if part in point["losses"]]
    if not found:
        raise InputError(f"No loss was measured on the {part} text.")
    return found


def _scatter(axis: Axes, points: Sequence[tuple[float, float, Mapping[str, Any]]]) -> None:
    for (kind, recovered), (label, colour, marker) in KINDS.items():
        found = [
            each for each in points if each[2]["kind"] == kind and bool(each[2]["recovered"]) == recovered
        ]
        if not found:
            continue
        axis.scatter(
            [x for x, _, _ in found], [y for _, y, _ in found], label=label, marker=marker, s=26,
            facecolor="none" if recovered else colour, edgecolor=colour, linewidth=1.3, zorder=3,
        )  # fmt: skip
        if not is_narrow(axis) and not (kind == "stock" and recovered):  # they lie beside the unrecovered
            for x, y, point in found:
                if "importance" in str(point["types"]):
                    continue  # it lies beside the same type without importance weights
                axis.annotate(
                    str(point["types"]).removeprefix("stock "), (x, y), xytext=(4, 4), fontsize=7,
                    textcoords="offset points", color=MUTED,
                )  # fmt: skip
    ours = [each for each in points if each[2]["kind"] == "ours"]
    for number, recovered in enumerate(dict.fromkeys(bool(point["recovered"]) for _, _, point in ours)):
        found = [each for each in ours if bool(each[2]["recovered"]) == recovered]
        axis.scatter(
            [x for x, _, _ in found], [y for _, y, _ in found], marker="*", s=190, edgecolor=INK,
            label="this result" if number == 0 else "this result before its recovery",
            color=VERMILION if number == 0 else "white", linewidth=0.8, zorder=5,
        )  # fmt: skip


def _finish(axis: Axes, document: Document, part: str, title: str) -> None:
    dense = document["result"]["losses"].get(part)
    if dense is not None:
        axis.axhline(dense, color=MUTED, linewidth=1, linestyle="--")
        axis.annotate(
            "dense model", (1, dense), xycoords=("axes fraction", "data"), xytext=(0, -10), ha="right",
            textcoords="offset points", fontsize=7.5, color=MUTED,
        )  # fmt: skip
    axis.set_ylabel("loss, nats per token")
    where = "judging text" if part == "judging" else "text of another domain"
    style_title(axis, f"{title}, {where}")
    style_legend(axis, columns=1)
