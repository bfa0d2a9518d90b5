"""The Pareto front of gain and cost: allocations of which none is both better and cheaper than another.

NSGA-II [NSGA-II]_ as pymoo has it, over an integer problem with sampling, crossover and mutation of its own,
so that every individual is an allocation inside the limits; it may cost less than they allow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rankadaptor.errors import InputError
from rankadaptor.space.moves import shift
from rankadaptor.space.tables import compute_keys

if TYPE_CHECKING:
    from rankadaptor.predictor import Predictor
    from rankadaptor.space import Allocation, Space

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

CROSSED, MOVED = 0.9, 0.08
CORNER_SHARE = 0.25


@dataclass(frozen=True)
class Front:
    """Allocations from the cheapest to the dearest, each predicted to gain more than all cheaper ones.

    Attributes:
        allocations: The allocations.
        costs: Their costs in the first limited resource, `(n,)`, ascending.
        predicted: Predicted gain less `caution` standard deviations, nats per token, `(n,)`.
    """

    allocations: tuple[Allocation, ...] = field(repr=False)
    costs: Ints = field(repr=False)
    predicted: Floats = field(repr=False)

    def to_json(self) -> list[dict[str, Any]]:
        """Return one JSON-like dict an allocation."""
        return [
            {"values": list(allocation.values), "cost": int(cost), "predicted_gain": float(gain)}
            for allocation, cost, gain in zip(self.allocations, self.costs, self.predicted, strict=True)
        ]


def find_front(
    space: Space,
    predictor: Predictor,
    *,
    seed: int,
    population: int = 100,
    generations: int = 80,
    caution: float = 0.0,
    start: Sequence[Allocation] = (),
) -> Front:
    """Find the Pareto front of predicted gain and cost.

    Args:
        space: Where to look; the budget is the largest cost.
        predictor: Judges gains.
        seed: Seed of all draws.
        population: Individuals of a generation.
        generations: Generations.
        caution: Standard deviations subtracted from a predicted gain, so that uncertainty counts against it.
        start: Allocations that take part from the beginning, such as those measured.

    Raises:
        InputError: If a number is too small or an allocation belongs to another space.
    """
    from pymoo.optimize import minimize

    if population < 4 or generations < 1:
        raise InputError(f"population={population}, generations={generations}: at least 4 and 1.")
    inside = (space.from_choices(space.origin),) if space.contains(space.reference().values) else ()
    algorithm, problem = build_algorithm(
        space,
        lambda choices: _judge(space, predictor, choices, caution=caution),
        start=(*inside, *start),
        population=population,
        seed=seed,
    )
    found = minimize(problem, algorithm, ("n_gen", generations), seed=seed, verbose=False)
    last = np.rint(found.pop.get("X")).astype(np.int64)
    return sort_front(space, last, _judge(space, predictor, last, caution=caution))


def draw_sizes(space: Space, count: int, *, seed: int) -> Ints:
    """Draw choices `(count, n_slots)` of all sizes: spread over the space, then shrunk by a random share.

    A slot is shrunk to its dearest option that costs no more than the share of what it cost.
    """
    generator = np.random.default_rng(seed)
    tables = space.tables
    drawn = space.sample_choices(count, int(generator.integers(1 << 31)))
    share = generator.uniform(0.0, 1.0, size=(count, 1))
    kept = generator.random(count) < CORNER_SHARE
    costs = tables.costs[0]
    wanted = costs[tables.columns, drawn] * share
    affordable = np.where(costs[None] <= wanted[:, :, None], costs[None], -1)
    shrunk = np.where(affordable.max(axis=2) >= 0, affordable.argmax(axis=2), drawn)
    sizes = tables.clip(np.where(kept[:, None], drawn, shrunk))
    # What costs less of one resource may cost more of another.
    return sizes if len(space.bounds) == 1 else space.repair_choices(sizes, seed=seed, fill=False)


def sort_front(space: Space, choices: Ints, gains: Floats) -> Front:
    """Keep the rows that no other row beats in both cost and gain, cheapest first."""
    _, kept = np.unique(compute_keys(choices), return_index=True)
    choices, gains = choices[kept], gains[kept]
    costs = space.tables.sum_costs(choices)
    order = np.lexsort((-gains, costs))
    best, chosen = -np.inf, []
    for row in order:
        if gains[row] > best:
            chosen.append(row)
            best = gains[row]
    return Front(
        tuple(space.from_choices(choices[row].tolist()) for row in chosen), costs[chosen], gains[chosen]
    )


def build_algorithm(
    space: Space,
    judge: Callable[[Ints], Floats],
    *,
    start: Sequence[Allocation],
    population: int,
    seed: int,
) -> tuple[Any, Any]:
    """Build NSGA-II [NSGA-II]_ and its problem for pymoo: gain and cost of rows of choices.

    Args:
        space: The space.
        judge: Returns the gain of every row of choices, nats per token.
        start: Allocations of the first generation; the rest is drawn in all sizes.
        population: Individuals of a generation; all of `start`, if these are more.
        seed: Seed of the first generation, of crossover and of mutation.

    Raises:
        InputError: If an allocation belongs to another space.
    """
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.crossover import Crossover
    from pymoo.core.mutation import Mutation
    from pymoo.core.problem import Problem
    from pymoo.core.sampling import Sampling

    if any(allocation.space != space for allocation in start):
        raise InputError("start: an allocation of another space. Make them with this space.")
    given = np.array([allocation.choices for allocation in start], dtype=np.int64).reshape(-1, space.n_slots)
    first = np.concatenate([given, draw_sizes(space, population, seed=seed)])[: max(population, len(given))]
    tables, generator = space.tables, np.random.default_rng([seed, 1])

    def fit(choices: Ints) -> Ints:
        return space.repair_choices(choices, seed=int(generator.integers(1 << 31)), fill=False)

    class GainAndCost(Problem):  # type: ignore[misc]
        """Loss and cost, both to be small."""

        def __init__(self) -> None:
            super().__init__(n_var=space.n_slots, n_obj=2, xl=tables.lowest, xu=tables.highest, vtype=int)

        def _evaluate(self, rows: Any, out: dict[str, Any], *_: Any, **__: Any) -> None:
            choices = np.rint(rows).astype(np.int64)
            costs = tables.sum_costs(choices) / max(space.bounds[0], 1)
            out["F"] = np.column_stack([-judge(choices), costs])

    class GivenPopulation(Sampling):  # type: ignore[misc]
        """The first generation as it is given."""

        def _do(self, _problem: Any, count: int, *_: Any, **__: Any) -> Ints:
            return first[:count]

    class UniformCrossover(Crossover):  # type: ignore[misc]
        """Each slot from one of two parents."""

        def __init__(self) -> None:
            super().__init__(2, 2, prob=CROSSED)

        def _do(self, _problem: Any, parents: Any, *_: Any, **__: Any) -> Ints:
            one, other = np.rint(parents).astype(np.int64)
            taken = generator.random(one.shape) < 0.5
            children = np.stack([np.where(taken, one, other), np.where(taken, other, one)])
            return fit(children.reshape(-1, space.n_slots)).reshape(children.shape)

    class StepMutation(Mutation):  # type: ignore[misc]
        """Some slots a few options up or down; in a third of the rows all in one direction."""

        def _do(self, _problem: Any, rows: Any, *_: Any, **__: Any) -> Ints:
            choices = np.rint(rows).astype(np.int64)
            moved = generator.random(choices.shape) < max(MOVED, 1.0 / space.n_slots)
            together = generator.random(len(choices)) < 1 / 3
            signs = np.where(together, generator.choice((-1, 1), size=len(choices)), 0)
            return fit(shift(space, choices, moved, generator=generator, signs=signs))

    algorithm = NSGA2(
        pop_size=len(first),
        sampling=GivenPopulation(),
        crossover=UniformCrossover(),
        mutation=StepMutation(prob=1.0),
        eliminate_duplicates=True,
    )
    return algorithm, GainAndCost()


def _judge(space: Space, predictor: Predictor, choices: Ints, *, caution: float) -> Floats:
    prediction = predictor.predict(space, choices)
    return prediction.mean - caution * prediction.std
