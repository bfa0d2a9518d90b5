"""Which learning rate a kind of training is judged with: the best on the search text at its own length."""

from __future__ import annotations

import math
from collections.abc import Mapping

from experiments.recovery.training import TUNING_SEED, Record, Training
from rankadaptor.data.text_sets import SEARCH

FACTOR = math.sqrt(3)
"""Ratio of neighbouring rates."""
ORIGIN = 3e-3
LOWEST, HIGHEST = -16, 9


def make_rate(position: int) -> float:
    """Return the rate at a position of the grid, which has 3e-3 at zero."""
    return float(f"{ORIGIN * FACTOR**position:.3g}")


def find_position(rate: float) -> int:
    """Return the position of the grid that is nearest to a rate."""
    return round(math.log(rate / ORIGIN, FACTOR))


def read_tuning(cell: Training, found: Mapping[Training, Record]) -> dict[int, float]:
    """Return the loss on the search text at each position tried; infinite if it diverged."""
    return {
        find_position(training.learning_rate): math.inf if record.losses is None else record.losses[SEARCH]
        for training, record in found.items()
        if training.seed == TUNING_SEED and training.cell == cell
    }


def list_untried(
    cell: Training, found: Mapping[Training, Record], *, start: float, upward: bool = True
) -> list[float]:
    """Return the rates to try next: none once the best one lies between two that are worse.

    Args:
        cell: What is trained.
        found: The records.
        start: Where to begin.
        upward: Whether higher rates than the start are tried. Where the start is the best rate of shorter
            trainings they need not be: the best rate falls with the length.
    """
    losses = read_tuning(cell, found)
    first = find_position(start)
    if first not in losses:
        return [make_rate(first)]
    best = min(losses, key=lambda position: (losses[position], position))
    around = (best - 1, best + 1) if upward or best != first else (best - 1,)
    return [make_rate(each) for each in around if LOWEST <= each <= HIGHEST and each not in losses]


def find_best_rate(cell: Training, found: Mapping[Training, Record]) -> float | None:
    """Return the rate with the lowest loss so far; None if none was tried or all diverged."""
    losses = read_tuning(cell, found)
    best = min(losses, key=lambda position: (losses[position], position), default=None)
    return None if best is None or math.isinf(losses[best]) else make_rate(best)
