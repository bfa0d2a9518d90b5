"""NSGA-II on measurements: every individual is measured, no predictor stands in for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from rankadaptor.errors import InputError
from rankadaptor.search.front import Floats, Ints, build_algorithm

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.space import Allocation, Space

POPULATION = 10
FAILED = -1e3
"""Gain of an individual whose measurement failed, nats per token."""


def evolve_measured(
    space: Space,
    measure: Callable[[Sequence[Allocation]], Sequence[Record]],
    *,
    evaluations: int,
    seed: int,
    population: int = POPULATION,
    start: Sequence[Allocation] = (),
) -> list[Record]:
    """Search the Pareto front of measured gain and cost by NSGA-II [NSGA-II]_.

    Args:
        space: Where to look; the first limit is the cost.
        measure: Measures allocations and returns their records in order.
        evaluations: Allocations to measure; those that were measured before are not counted again.
        seed: Seed of all draws.
        population: Individuals of a generation.
        start: Allocations of the first generation; the rest is drawn in all sizes.

    Returns:
        The records, in the order in which they were measured.

    Raises:
        InputError: If a number is too small or an allocation belongs to another space.
    """
    if population < 4 or evaluations < 1:
        raise InputError(f"population={population}, evaluations={evaluations}: at least 4 and 1.")
    known: dict[tuple[int, ...], Record] = {}

    def judge(choices: Ints) -> Floats:
        rows = [tuple(row) for row in choices.tolist()]
        fresh = list(dict.fromkeys(row for row in rows if row not in known))[: evaluations - len(known)]
        if fresh:
            records = measure([space.from_choices(row) for row in fresh])
            known.update(zip(fresh, records, strict=True))
        gains = [known[row].gain if row in known else None for row in rows]
        return np.array([FAILED if gain is None else gain for gain in gains])

    algorithm, problem = build_algorithm(space, judge, start=start, population=population, seed=seed)
    algorithm.setup(problem, termination=("n_gen", 10 * evaluations), seed=seed, verbose=False)
    before = -1
    while algorithm.has_next() and before < len(known) < evaluations:
        before = len(known)
        algorithm.next()
    return list(known.values())
