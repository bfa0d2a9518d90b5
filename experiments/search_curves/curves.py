"""Regret over evaluations and tokens, from the records of searches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.performance_model.cases import Case
from experiments.search_curves.methods import METHODS
from experiments.search_curves.traces import Trace

Row = dict[str, Any]

COUNTS = (1, 8, 16, 32, 60, 100, 160, 320, 640)


def list_rows(traces: Sequence[Trace], cases: Sequence[Case]) -> list[Row]:
    """Return a row for every method, setting, band and number of evaluations: means over seeds.

    `regret` is the best divergence so far over the least that any search of the band found, less 1, in per
    cent; None where a search had no allocation inside the limit yet. `optimum` is that least divergence, and
    `reference_evaluations` counts all that were spent on it: the collection's search for the optimum and all
    searches here.
    """
    bands = {(case.name, name): band for case in cases for name, band in case.bands.items()}
    rows: list[Row] = []
    for setting, band in dict.fromkeys((trace.setting, trace.band) for trace in traces):
        own = [trace for trace in traces if (trace.setting, trace.band) == (setting, band)]
        known = bands[setting, band].optimum
        least = min([known.kl, *(kl for trace in own for kl in trace.kl if kl is not None)])
        spent = sum(known.evaluations) + sum(len(trace.kl) for trace in own)
        for method in METHODS:
            runs = [trace for trace in own if trace.method == method]
            for count in COUNTS:
                reached = [trace for trace in runs if len(trace.kl) >= count]
                if not reached:
                    continue
                best = [trace.find_best(count) for trace in reached]
                sound = [kl for kl in best if kl is not None]
                rows.append(
                    {
                        "setting": setting, "held_out": "family", "band": band, "method": method,
                        "evaluations": count, "runs": len(reached),
                        "tokens": round(float(np.mean([trace.sum_tokens(count) for trace in reached]))),
                        "regret": round(100.0 * (float(np.mean(sound)) / least - 1.0), 3)
                        if len(sound) == len(best) else None,
                        "optimum": least, "reference_evaluations": spent,
                    }
                )  # fmt: skip
    return rows
