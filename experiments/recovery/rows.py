"""The rows of the result file: each kind of training over its paired seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import t as student

from experiments.recovery.models import DENSE
from experiments.recovery.training import LLM_PRUNER, TUNING_SEED, Record, Training
from rankadaptor.data.text_sets import JUDGING, OTHER

Row = dict[str, Any]
JUDGES = (JUDGING, OTHER)
CONFIDENCE = 0.95
LLM_PRUNER_NAME = "LLM-Pruner's recipe"
AFTERWARDS = ", rounded afterwards"


def list_rows(
    records: Sequence[Record], models: Mapping[str, Mapping[str, Any]], *, setting: str
) -> list[Row]:
    """Return one row per kind of training that was judged, by pruned model, tokens and method.

    Args:
        records: The records of a study.
        models: What is known of its models, by name.
        setting: Name of the study.
    """
    groups: dict[tuple[Training, float], list[Record]] = {}
    for record in records:
        if record.training.seed != TUNING_SEED:
            groups.setdefault((record.training.cell, record.training.learning_rate), []).append(record)
    sound = {
        key: group for key, group in groups.items() if all(record.losses is not None for record in group)
    }
    rows = [
        _make_row(cell, rate, group, models, setting=setting, rounded=kind)
        for (cell, rate), group in sound.items()
        for kind in (None, *_list_types(group))
    ]
    keys = ("widths", "ratio", "tokens", "bits", "method", "loss_kind", "learning_rate")
    return sorted(rows, key=lambda row: tuple(str(row[key]).rjust(12) for key in keys))


def _list_types(group: Sequence[Record]) -> list[str]:
    """Return the types that all trainings of a group were rounded to afterwards."""
    types = [set(record.details.get("rounded") or {}) for record in group]
    return sorted(set.intersection(*types))


def _make_row(
    cell: Training,
    rate: float,
    group: Sequence[Record],
    models: Mapping[str, Any],
    *,
    setting: str,
    rounded: str | None = None,
) -> Row:
    group = sorted(group, key=lambda record: record.training.seed)
    losses = {part: [_read(record, part, rounded) for record in group] for part in JUDGES}
    method = LLM_PRUNER_NAME if cell.recipe == LLM_PRUNER else cell.method
    before, dense = models[cell.structure]["losses"], models[DENSE]["losses"]
    row: Row = {
        "setting": setting,
        "widths": cell.widths,
        "ratio": cell.ratio,
        "parameters": models[cell.structure]["parameters"],
        "bits": rounded or cell.bits,
        "method": f"{method}{AFTERWARDS}" if rounded is not None else method,
        "loss_kind": cell.loss_kind,
        "learning_rate": rate,
        "tokens": cell.tokens,
        "seeds": [record.training.seed for record in group],
    }
    for part in JUDGES:
        row[f"loss_{part}"] = float(np.mean(losses[part]))
        row[f"loss_{part}_pruned"], row[f"loss_{part}_dense"] = before[part], dense[part]
        row[f"losses_{part}"] = losses[part]
    for part, name in ((JUDGING, "regained"), (OTHER, "regained_other")):
        lost = before[part] - dense[part]
        shares = [(before[part] - loss) / lost for loss in losses[part]]
        row[name], row[f"{name}_low"], row[f"{name}_high"] = find_interval(shares)
    row["tokens_trained"] = round(float(np.mean([record.tokens for record in group])))
    row["seconds"] = round(float(np.mean([record.seconds for record in group])), 1)
    row["precision"] = sorted({str(record.details["precision"]) for record in group})
    return row


def _read(record: Record, part: str, rounded: str | None) -> float:
    if rounded is not None:
        return float(record.details["rounded"][rounded][part])
    assert record.losses is not None
    return record.losses[part]


def find_interval(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """Return the mean over seeds and its interval at 95 %; no interval for a single seed."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, None, None
    half = float(student.ppf(0.5 + CONFIDENCE / 2, len(values) - 1)) * float(np.std(values, ddof=1))
    half /= math.sqrt(len(values))
    return mean, mean - half, mean + half


def pair_seeds(one: Row, other: Row, key: str) -> list[tuple[float, float]]:
    """Return the values of two rows at the seeds that both have."""
    left, right = (dict(zip(row["seeds"], row[key], strict=True)) for row in (one, other))
    return [(left[seed], right[seed]) for seed in one["seeds"] if seed in right]
