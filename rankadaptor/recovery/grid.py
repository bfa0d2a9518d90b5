"""The candidates of a choice of recipes, and how many of them are trained for how long. No torch import."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from rankadaptor.defaults import CHOICE
from rankadaptor.methods import find_method

RATE, METHOD = "learning_rate", "method"

Changes = Mapping[str, Any]
"""Fields of a recipe and the values that a candidate has there."""


def list_candidates(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return all combinations of a grid, those first that differ least from its first values.

    Rates do not count as differences: where not all can be tried, other fields give way to them. The rates of
    the grid are those of its first method; each other method has its own from `methods.METHODS`.
    """
    axes = {name: list(dict.fromkeys(values)) for name, values in grid.items()}
    combinations = []
    for method in axes.get(METHOD, [None]):
        own = dict(axes)
        if method is not None:
            own[METHOD] = [method]
            if method != axes[METHOD][0]:
                own[RATE] = list(find_method(method).learning_rates)
        combinations += [dict(zip(own, values, strict=True)) for values in itertools.product(*own.values())]
    return sorted(
        combinations,
        key=lambda each: sum(value != axes[name][0] for name, value in each.items() if name != RATE),
    )


def plan_rungs(candidates: int, *, budget: int, keep: float, least: int) -> tuple[int, int]:
    """Return the number of rungs, and of candidates that the first one can train.

    As many rungs as are needed to come down to two candidates, fewer where the steps do not suffice for all.
    """
    needed, count = 1, candidates
    while count > 2:
        count, needed = max(2, math.ceil(keep * count)), needed + 1
    for rungs in range(needed, 0, -1):
        if budget // (rungs * candidates) >= least:
            return rungs, candidates
    affordable = budget // least
    return (1, affordable) if affordable >= 2 else (0, 0)


def foresee_rungs(
    grid: Mapping[str, Sequence[Any]],
    *,
    steps: int,
    share: float = CHOICE.share,
    keep: float = CHOICE.keep,
    least: int = CHOICE.least_steps,
) -> list[tuple[int, int]]:
    """Return candidates and steps of each rung for a recovery of so many steps; none without a choice."""
    candidates = len(list_candidates(grid))
    budget = math.floor(share * steps)
    rungs, count = plan_rungs(candidates, budget=budget, keep=keep, least=least) if candidates > 1 else (0, 0)
    found = []
    for number in range(rungs):
        found.append((count, budget // ((rungs - number) * count)))
        budget -= count * found[-1][1]
        count = max(2, math.ceil(keep * count))
    return found


def raise_rate(rate: float, *, steps: int, short: int, power: float = CHOICE.rate_power) -> float:
    """Return the rate of a training of `short` steps that stands for one of `steps` steps at a rate."""
    return float(rate * max(steps / short, 1.0) ** power)


def describe_changes(changes: Changes) -> str:
    """Write a candidate in words, for example `learning_rate 0.003, schedule linear`."""
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in changes.items()
    )
