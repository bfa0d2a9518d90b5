"""A search of ranks and LoRA scales, by linear type and depth, under the same budget and cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.compare.choice import Choice
from experiments.compare.guided import remeasure_finalists, share_trials
from rankadaptor.components.adapter import add_scales
from rankadaptor.components.adapter.scales import STANDARD
from rankadaptor.predictor import make_predictor
from rankadaptor.search import Search

if TYPE_CHECKING:
    from experiments.compare.config import ComparisonConfig
    from experiments.compare.prepared_setting import PreparedSetting
    from rankadaptor.corpus import Record
    from rankadaptor.space import Allocation

SCALES_FIRST = 0.6
"""Share of the search's trials with uniform ranks: ten scales need fewer trials than sixty ranks."""
PREDICTOR = "gaussian_process"  # the gain has a maximum inside the range of scales; a linear model has not


def choose_with_scales(prepared: PreparedSetting, given: ComparisonConfig) -> Choice:
    """Search scales with uniform ranks, then both together, then measure the finalists again."""
    trials = share_trials(given)[0]
    with prepared.with_scales() as with_scales:
        settings = {"seed": prepared.seed, "candidates": prepared.config.search.candidates}
        predictor = make_predictor(PREDICTOR, seed=prepared.seed)
        scales = Search(add_scales(prepared.space, pin_ranks=True), predictor, **settings)  # type: ignore[arg-type]
        both = Search(with_scales.space, predictor, **settings)  # type: ignore[arg-type]
        first = max(1, round(trials * SCALES_FIRST))

        def measure(batch: Sequence[Allocation]) -> list[Record]:
            allocations = [with_scales.space.allocation(allocation.values) for allocation in batch]
            return with_scales.measure(allocations, label=f"ranks and scales {len(both.records)}/{trials}")

        scales.run_batches(measure, evaluations=first, batch=given.batch, on_records=both.tell)
        both.run_batches(measure, evaluations=trials, batch=given.batch)
        choice = remeasure_finalists(with_scales, given, both)
        chosen = {
            slot.name: value
            for slot, value in zip(with_scales.space.slots, choice.values, strict=True)
            if slot.name.startswith("scale.") and value != STANDARD
        }
    return dataclasses.replace(choice, with_scales=True, details={**choice.details, "scales": chosen})
