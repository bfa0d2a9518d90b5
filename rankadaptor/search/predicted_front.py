"""Predictor-assisted NSGA-II: the front of predicted gain and cost, measured in part, and predicted again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from rankadaptor.errors import InputError
from rankadaptor.search.front import Ints, draw_sizes, find_front
from rankadaptor.search.measured_front import POPULATION

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.predictor import Predictor
    from rankadaptor.space import Allocation, Space

MEMBERS, GENERATIONS = 50, 40
"""Of the evolution on the predictor, which costs no measurement."""


def evolve_predicted(
    space: Space,
    measure: Callable[[Sequence[Allocation]], Sequence[Record]],
    predictor: Predictor,
    *,
    evaluations: int,
    seed: int,
    batch: int = POPULATION,
    start: Sequence[Allocation] = (),
) -> list[Record]:
    """Search the Pareto front of gain and cost with few measurements [LINAS]_.

    Half of the first batch use the limits up, the others are of all sizes. Then NSGA-II evolves a front on a
    predictor that has seen all records; allocations of it that were not measured yet are, spread over its
    costs, and the predictor learns from them.

    Args:
        space: Where to look; the first limit is the cost.
        measure: Measures allocations and returns their records in order.
        predictor: Predicts gains; it is conditioned on the records.
        evaluations: Allocations to measure.
        seed: Seed of all draws.
        batch: Allocations that are measured between two evolutions.
        start: Allocations of the first batch; the rest is drawn.

    Returns:
        The records, in the order in which they were measured; fewer than asked for where the predicted fronts
        hold nothing new.

    Raises:
        InputError: If a number is too small or an allocation belongs to another space.
    """
    if batch < 1 or evaluations < 1:
        raise InputError(f"batch={batch}, evaluations={evaluations}: at least 1 each.")
    if any(allocation.space != space for allocation in start):
        raise InputError("start: an allocation of another space. Make them with this space.")
    given = np.array([allocation.choices for allocation in start], dtype=np.int64).reshape(-1, space.n_slots)
    filled, sizes = space.sample_choices((batch + 1) // 2, seed), draw_sizes(space, batch, seed=seed)
    first = np.concatenate([given, filled, sizes])
    pending = [tuple(row) for row in first.tolist()]
    known: dict[tuple[int, ...], Record] = {}
    while pending := list(dict.fromkeys(row for row in pending if row not in known)):
        fresh = pending[: min(max(batch, len(given)) if not known else batch, evaluations - len(known))]
        known.update(zip(fresh, measure([space.from_choices(row) for row in fresh]), strict=True))
        if len(known) >= evaluations:
            break
        pending = _predict_front(space, predictor.update(space, list(known.values())), known, seed=seed)
    return list(known.values())


def _predict_front(
    space: Space, predictor: Predictor, known: dict[tuple[int, ...], Record], *, seed: int
) -> list[tuple[int, ...]]:
    """Return the members of the predicted front that were not measured, ordered to spread their costs."""
    front = find_front(
        space,
        predictor,
        seed=seed + len(known),
        population=MEMBERS,
        generations=GENERATIONS,
        start=[space.from_choices(row) for row in known],
    )
    rows = [
        each.choices
        for each in front.allocations
        if each.choices not in known and space.contains(each.values)
    ]
    return [rows[place] for place in _spread(len(rows)).tolist()]


def _spread(count: int) -> Ints:
    """Return 0 to count − 1, the last first, then what lies farthest from all before it."""
    order: list[int] = []
    left = list(range(count))
    while left:
        farthest = max(left, key=lambda place: (min((abs(place - each) for each in order), default=0), place))
        order.append(farthest)
        left.remove(farthest)
    return np.array(order, dtype=np.int64)
