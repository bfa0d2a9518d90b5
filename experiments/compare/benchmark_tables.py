"""Tables of benchmark scores of the recovered models, compared with uniform on the same items."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.compare.labels import label_method
from rankadaptor.results.table import Table, write_points

Row = Mapping[str, Any]


def average_benchmarks(rows: Sequence[Row]) -> Table | None:
    """Return one line per method: accuracy on each benchmark, and the mean's difference from uniform's.

    Means over the settings in which every method was scored; None if there is none.
    """
    methods = list(dict.fromkeys(row["method"] for row in rows))
    scored = {(row["setting"], row["method"]): row["benchmarks"] for row in rows if row["benchmarks"]}
    shared = sorted(
        setting
        for setting in {row["setting"] for row in rows}
        if all((setting, method) in scored for method in methods)
    )
    if not shared:
        return None
    first = scored[shared[0], methods[0]]
    names = [name for name, value in first.items() if isinstance(value, Mapping) and "accuracy" in value]
    lines = []
    for method in methods:
        own = [scored[setting, method] for setting in shared]
        cells = [write_points(float(np.mean([each[name]["accuracy"] for each in own]))) for name in names]
        mean = write_points(float(np.mean([each["mean"] for each in own])))
        found = [each["difference"]["mean"] for each in own if "difference" in each]
        lines.append((label_method(method), *cells, mean, _pool(found)))
    return Table(
        name="benchmarks",
        title="Accuracy on the benchmarks",
        header=("method", *names, "mean", "minus uniform"),
        rows=tuple(lines),
        note=f"Accuracy in per cent, means over {len(shared)} settings, {_write_items(first, names)} items a "
        "benchmark and setting, the same for all methods. *Minus uniform*: difference of the means with its "
        "standard error, paired item by item. One recovery of each choice, on the first seed. "
        "Chance level is 50 % for two answers and 25 % for four; models of this size are near it.",
    )


def _write_items(scores: Row, names: Sequence[str]) -> str:
    counts = sorted({int(scores[name]["n"]) for name in names})
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def write_difference(row: Row) -> str:
    """Write a row's mean accuracy beside uniform's on the same items, in points with its standard error."""
    difference = (row["benchmarks"] or {}).get("difference")
    return _pool([difference["mean"]] if difference else [])


def _pool(differences: Sequence[Mapping[str, float | None]]) -> str:
    if not differences:
        return write_points(None)
    errors = [each["standard_error"] for each in differences if each["standard_error"] is not None]
    known = len(errors) == len(differences)  # one item alone has no standard error
    error = math.sqrt(sum(each**2 for each in errors)) / len(differences) if known else None
    return write_points(float(np.mean([each["difference"] for each in differences])), error, signed=True)
