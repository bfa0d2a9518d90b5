"""The searches that are compared; each gets a measure and a number of evaluations, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from experiments.search_curves.radial_basis import RadialBasis
from rankadaptor.predictor.sweep_predictor import SweepPredictor
from rankadaptor.search import Refinement, Search, estimate_slot_values, plan_sweep, solve_exact
from rankadaptor.space import Allocation

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.features.slot_features import SlotFeatures
    from rankadaptor.predictor.damage.trained import TrainedDamage
    from rankadaptor.space import Space

Measure = Callable[[Sequence[Allocation]], list["Record"]]

TRAINED, SWEEP, EVOLUTION, RADIAL, RANDOM = (
    "trained predictor", "sweep and refinement", "blind evolution", "radial basis function", "random",
)  # fmt: skip
BATCH, CANDIDATES = 4, 2000
"""As in `compress`."""
FIRST = 32
"""Allocations that the radial basis function begins with, spread over the space."""
POPULATION = 16
"""Random allocations that blind evolution begins with."""


@dataclass(frozen=True)
class Task:
    """A band of a setting.

    Attributes:
        space: The space with its limit.
        features: Its slot features.
        trained: A predictor that has not seen its family.
        measure: Scores allocations.
    """

    space: Space
    features: SlotFeatures
    trained: TrainedDamage
    measure: Measure


Run = Callable[[Task, int, int], None]
"""Searches a task with a number of evaluations and a seed; what it measures is its result."""


def search_trained(task: Task, evaluations: int, seed: int) -> None:
    """Start at the exact optimum of predicted slot values; refine by the predictor, without a sweep."""
    values = task.trained.options.read_values(task.space, task.features)
    predictor = task.trained.start(task.space, task.features, seed=seed)
    start = task.space.from_choices(solve_exact(task.space, values))
    _refine(task, predictor, start, evaluations=evaluations, seed=seed)


def search_swept(task: Task, evaluations: int, seed: int) -> None:
    """Sweep, start at the exact optimum of its sum, refine: what `compress` does without a predictor."""
    records = task.measure(plan_sweep(task.space))
    values = estimate_slot_values(task.space, records)
    start = task.space.from_choices(solve_exact(task.space, values))
    left = evaluations - len(records)
    if left > 0:
        _refine(task, SweepPredictor(values, seed=seed), start, evaluations=left, seed=seed)


def evolve_blindly(task: Task, evaluations: int, seed: int) -> None:
    """Trade between slots of the best so far, from random allocations on."""
    starts = tuple(task.space.sample(POPULATION, seed=seed))
    search = Search(
        task.space, RadialBasis(), seed=seed, initial=0, refinement=Refinement(starts=starts, blind=True)
    )
    search.run_batches(task.measure, evaluations=evaluations, batch=BATCH)


def search_radial(task: Task, evaluations: int, seed: int) -> None:
    """Measure what radial basis functions expect to be best among offspring of the best."""
    search = Search(
        task.space, RadialBasis(), seed=seed, proposal="greedy", candidates=CANDIDATES, initial=FIRST
    )
    search.run_batches(task.measure, evaluations=evaluations, batch=BATCH)


def draw_randomly(task: Task, evaluations: int, seed: int) -> None:
    """Measure random allocations of the band."""
    task.measure(task.space.sample(evaluations, seed=seed))


METHODS: Mapping[str, tuple[Run, int]] = {
    TRAINED: (search_trained, 160),
    SWEEP: (search_swept, 160),
    EVOLUTION: (evolve_blindly, 640),
    RADIAL: (search_radial, 160),
    RANDOM: (draw_randomly, 160),
}
"""Name → search and its evaluations."""


def _refine(task: Task, predictor: SweepPredictor, start: Allocation, *, evaluations: int, seed: int) -> None:
    search = Search(
        task.space, predictor, seed=seed, candidates=CANDIDATES, refinement=Refinement(starts=(start,))
    )
    search.run_batches(task.measure, evaluations=evaluations, batch=BATCH)
