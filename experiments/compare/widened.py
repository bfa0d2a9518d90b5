"""Our search over more than ranks: LoRA scales by linear type and depth, under the same budget and cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.compare.choice import Choice
from experiments.compare.guided import share_trials, take_second_opinions
from rankadaptor.components.adapter import widen_space
from rankadaptor.components.adapter.scales import STANDARD
from rankadaptor.predictor import make_predictor
from rankadaptor.search import Search

if TYPE_CHECKING:
    from experiments.compare.arena import Arena
    from experiments.compare.config import ComparisonConfig
    from rankadaptor.corpus import Record
    from rankadaptor.space import Allocation

SCALES_FIRST = 0.6
"""Share of the searching trials that moves scales alone: ten choices are learned sooner than sixty."""
GUIDE = "gaussian_process"  # a scale has a best value in the middle, which no straight line shows


def choose_widened(arena: Arena, given: ComparisonConfig) -> Choice:
    """Search scales with ranks held at uniform's, then both together, then ask for second opinions."""
    trials = share_trials(given)[0]
    with arena.widen() as widened:
        settings = {"seed": arena.seed, "candidates": arena.config.search.candidates}
        predictor = make_predictor(GUIDE, seed=arena.seed)
        scales = Search(widen_space(arena.space, pin_ranks=True), predictor, **settings)  # type: ignore[arg-type]
        both = Search(widened.space, predictor, **settings)  # type: ignore[arg-type]
        first = max(1, round(trials * SCALES_FIRST))

        def measure(batch: Sequence[Allocation]) -> list[Record]:
            allocations = [widened.space.allocation(allocation.values) for allocation in batch]
            return widened.measure(allocations, label=f"widened {len(both.records)}/{trials}")

        scales.run_batches(measure, evaluations=first, batch=given.batch, on_records=both.tell)
        both.run_batches(measure, evaluations=trials, batch=given.batch)
        choice = take_second_opinions(widened, given, both)
        chosen = {
            slot.name: value
            for slot, value in zip(widened.space.slots, choice.values, strict=True)
            if slot.name.startswith("scale.") and value != STANDARD
        }
    return dataclasses.replace(choice, widened=True, details={**choice.details, "scales": chosen})
