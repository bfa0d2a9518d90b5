"""Refinement on the true score: allocations near the best measured ones, proposed by the predictor.

Candidates are trades between a few slots of the best allocations, and exact optima of the predictor's own
judgement: it is made linear around an allocation (what it predicts of every single change), the sum is
minimised under all limits with a bound on the number of slots that change, and this is repeated around what
was found. No candidate differs from the nearest of the best measured allocations in more slots than a radius.
Candidates are ranked by the predictor's mean plus a part of its standard deviation.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rankadaptor.errors import InputError
from rankadaptor.search.candidates import climb, drop_seen
from rankadaptor.search.exact import solve_exact
from rankadaptor.space.moves import trade

if TYPE_CHECKING:
    from rankadaptor.predictor import Predictor
    from rankadaptor.space import Allocation, Space

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

OPTIMISM = 0.25
"""Standard deviations added to the predicted mean."""
PARENTS = 6
GAP = 5e-3
"""Relative gap of exact candidates: the predictor's own errors are larger."""
RADIUS = 8
"""Slots in which a proposal may differ from the nearest of the best measured allocations: farther away the
predictor has seen nothing, and what it expects to be best is what it misjudges most."""


@dataclass(frozen=True)
class Refinement:
    """How a refining search chooses what to measure next.

    Attributes:
        starts: Allocations measured first, such as the exact optimum of the sweep and uniform.
        optimism: Standard deviations added to the predicted mean; 0 takes what is expected to be best.
        exact: Whether exact optima of the predictor's judgement are among the candidates.
        radius: Slots in which a proposal may differ from the nearest of the best measured allocations.
        blind: Whether candidates are taken as they are drawn, without ranking: evolution without a predictor.
    """

    starts: tuple[Allocation, ...] = ()
    optimism: float = OPTIMISM
    exact: bool = True
    radius: int = RADIUS
    blind: bool = False

    def propose(
        self,
        space: Space,
        predictor: Predictor,
        *,
        parents: Ints,
        seen: Collection[tuple[int, ...]],
        candidates: int,
        early: bool,
        turn: int,
        seed: int,
    ) -> tuple[int, ...] | None:
        """Return the choices to measure next, or None if nothing new was found.

        Args:
            space: The space.
            predictor: Conditioned on all records.
            parents: Measured allocations inside the limits, best first, `(n, n_slots)`; may be empty.
            seen: Choices to leave out.
            candidates: Number of trades that are ranked, besides offspring of the best of them.
            early: Whether there are few records yet; the largest predicted mean is then taken.
            turn: Number of the proposal in its batch; the exact solver runs for the first one.
            seed: Seed of all draws.
        """
        for start in self.starts:
            if start.choices not in seen:
                return start.choices
        if not len(parents):
            parents = space.sample_choices(PARENTS, seed)
        if self.blind:
            drawn = drop_seen(trade(space, parents[:1], count=64, seed=seed), seen)
            return _read_row(drawn[0]) if len(drawn) else None
        optimism = 0.0 if early else self.optimism
        parents = parents[:PARENTS]
        pool = trade(space, parents, count=candidates, seed=seed)
        if self.exact and turn == 0:
            found = _find_exact(space, predictor, parents[0], radius=self.radius, optimism=optimism)
            pool = np.concatenate([pool, found])
        pool = drop_seen(pool, seen)
        if not len(pool):
            return None
        return climb(
            pool,
            lambda choices: _score(space, predictor, choices, optimism=optimism),
            lambda best, number: _keep_near(
                trade(space, best, count=max(candidates // 4, 2), seed=seed + number + 1),
                parents,
                radius=self.radius,
            ),
            seen=seen,
        )


def _keep_near(choices: Ints, parents: Ints, *, radius: int) -> Ints:
    """Leave out rows that differ from every parent in more slots than the radius."""
    changed = (choices[:, None, :] != parents[None]).sum(axis=2).min(axis=1)
    near: Ints = choices[changed <= radius]
    return near


def _score(space: Space, predictor: Predictor, choices: Ints, *, optimism: float) -> Floats:
    if not len(choices):
        return np.zeros(0)
    prediction = predictor.predict(space, choices)
    return prediction.mean + optimism * prediction.std


def _find_exact(space: Space, predictor: Predictor, centre: Ints, *, radius: int, optimism: float) -> Ints:
    """Return exact optima of the predictor's judgement, linear around one and then around what was found."""
    found, around = [], centre
    for _ in range(2):
        values = _linearise(space, predictor, around, optimism=optimism)
        try:
            best = solve_exact(space, values, around=_read_row(centre), changes=radius, gap=GAP)
        except InputError:  # nothing else so near
            continue
        around = np.asarray(best)
        found.append(around)
    return np.array(found, dtype=np.int64).reshape(len(found), space.n_slots)


def _linearise(space: Space, predictor: Predictor, around: Ints, *, optimism: float) -> Floats:
    """Return slot values whose sum is what the predictor says of every single change of an allocation.

    The loss of the allocation itself is spread over the slots, `(n_slots, n_options)`.
    """
    tables = space.tables
    rows, slots, options = [around], [], []
    for slot in tables.searchable.tolist():
        for option in range(int(tables.lowest[slot]), int(tables.highest[slot]) + 1):
            changed = around.copy()
            changed[slot] = option
            rows.append(changed)
            slots.append(slot)
            options.append(option)
    scores = _score(space, predictor, np.array(rows), optimism=optimism)
    values = np.full(tables.costs[0].shape, -scores[0] / space.n_slots)
    values[slots, options] += scores[0] - scores[1:]
    return values


def _read_row(row: Ints | Sequence[int]) -> tuple[int, ...]:
    return tuple(int(value) for value in row)
