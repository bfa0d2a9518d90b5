"""Benchmark accuracy of the dense, pruned and recovered models, with standard errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from rankadaptor.plots.style import (
    COLOURS,
    INK,
    MUTED,
    OTHER_COLOURS,
    WIDTH,
    is_narrow,
    make_figure,
    style_title,
)
from rankadaptor.results import Document, get_part
from rankadaptor.results.scores import list_benchmarks, list_models

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Accuracy of guessing, drawn as a tick: an accuracy near it says nothing about the model.
CHANCE = {
    "boolq": 0.5, "piqa": 0.5, "hellaswag": 0.25, "winogrande": 0.5, "arc_easy": 0.25, "arc_challenge": 0.25,
    "openbookqa": 0.25,
}  # fmt: skip
SHORT_NAMES = {"arc_easy": "arc-e", "arc_challenge": "arc-c", "openbookqa": "obqa", "mean": "MEAN"}
_HATCHES = (None, "||||", "////", None, "xxxx", "\\\\\\\\")


def plot_accuracy(document: Document, *, width: float = WIDTH) -> Figure:
    """Draw a bar with its standard error for every benchmark and model, and the mean beside them.

    Raises:
        InputError: If the run evaluated no benchmark.
    """
    scores: dict[str, Any] = get_part(
        document, "benchmarks", sentence="No accuracies to draw: the run evaluated no benchmark."
    )
    models = list_models(scores)
    benchmarks = list_benchmarks(scores)
    groups = [*benchmarks, "mean"]
    figure, (axis,) = make_figure(height=3.5, width=width)
    share = 0.82 / len(models)
    spare = iter(OTHER_COLOURS * 3)
    for index, model in enumerate(models):
        values, errors = zip(*(_read_score(scores[model], group) for group in groups), strict=True)
        places = np.arange(len(groups)) + (index - (len(models) - 1) / 2) * share
        axis.bar(
            places,
            100 * np.array(values),
            share * 0.92,
            yerr=100 * np.array(errors),
            label=model,
            edgecolor="white",
            color=COLOURS.get(model) or next(spare),
            hatch=_HATCHES[index % len(_HATCHES)],
            linewidth=0,
            error_kw={"elinewidth": 1.0, "ecolor": INK, "capsize": 1.8},
        )
    for place, benchmark in enumerate(benchmarks):
        if benchmark in CHANCE:
            level = 100 * CHANCE[benchmark]
            axis.plot([place - 0.45, place + 0.45], [level, level], color=INK, linewidth=1.0, linestyle=":")
    axis.axvline(len(benchmarks) - 0.5, ymax=0.72 if is_narrow(axis) else 0.86, color=MUTED, linewidth=0.8)
    narrow = is_narrow(axis)
    names = [SHORT_NAMES.get(group, group) for group in groups]
    axis.set_xticks(range(len(groups)), names, rotation=60 if narrow else 0)
    style_title(axis, "Benchmark accuracy ± 1 standard error (dotted: guessing)")
    axis.set_ylabel("accuracy (%)")
    columns = 2 if narrow else len(models)
    axis.set_ylim(0, axis.get_ylim()[1] * (1.04 + 0.1 * -(-len(models) // columns)))
    axis.legend(loc="upper right", ncols=columns, frameon=False, fontsize=8.5, labelcolor=INK)
    return figure


def _read_score(model: dict[str, Any], benchmark: str) -> tuple[float, float]:
    """Return accuracy and standard error in [0, 1] of one model; NaN where it was not evaluated."""
    if benchmark == "mean":
        pair = model.get("mean"), model.get("mean_standard_error")
    else:
        score = model.get(benchmark) or {}
        pair = score.get("accuracy"), score.get("standard_error")
    accuracy, error = (float("nan") if value is None else float(value) for value in pair)
    return accuracy, error
