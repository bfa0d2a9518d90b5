"""Effect of scaling exponents and learning rates on the comparison of allocations."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from experiments.collect.studies import RecipeSection
from rankadaptor.config import RunConfig
from rankadaptor.corpus import Record
from rankadaptor.pipeline.design import choose_evenly, design_allocations
from rankadaptor.pipeline.execution import count_trial_workers
from rankadaptor.pipeline.trial_source import TrialSource
from rankadaptor.pipeline.trials import Job, TrialPool
from rankadaptor.recipe import Recipe
from rankadaptor.space import Allocation


def study_recipe(
    config: RunConfig, source: TrialSource, given: RecipeSection, *, steps: int
) -> dict[str, list[dict[str, Any]]]:
    """Measure some allocations under other scaling exponents and other learning rates.

    All exponents are equal at uniform; it is still trained under each, so that every trial has its pair.

    Returns:
        `exponents` and `rates_by_allocation`, a list of trials each; losses in nats per token.
    """
    designed = design_allocations(source.space, config.collect.allocations, seed=config.seed)
    chosen = choose_evenly(designed, given.allocations)
    seeds = range(config.seed, config.seed + given.seeds)
    recipe = source.recipe
    exponents = [
        {"exponent": exponent, **_describe(record, recipe)}
        for exponent in given.exponents
        for record in _measure_under(
            config, source, recipe.replace(scaling_exponent=exponent), chosen, seeds=seeds, steps=steps
        )
    ]
    factors = sorted({1.0, *given.learning_rates}) if given.learning_rates else []
    rates = [
        _describe(record, changed)
        for factor in factors
        for changed in [recipe.replace(learning_rate=recipe.learning_rate * factor)]
        for record in _measure_under(config, source, changed, chosen, seeds=seeds, steps=steps)
    ]
    return {"exponents": exponents, "rates_by_allocation": rates}


def _measure_under(
    config: RunConfig,
    source: TrialSource,
    recipe: Recipe,
    allocations: Sequence[Allocation],
    *,
    seeds: Sequence[int],
    steps: int,
) -> list[Record]:
    name = f"rate-{recipe.learning_rate:.4g}-exponent-{recipe.scaling_exponent:g}.jsonl"
    changed = source  # the setting's own recipe has been measured already, in part
    if recipe != source.recipe:
        changed = dataclasses.replace(source, recipe=recipe, records=source.records.parent / "study" / name)
    jobs = [
        Job(allocation, seed, steps)
        for seed in seeds
        for allocation in [source.space.reference(), *allocations]
    ]
    with TrialPool(changed, workers=count_trial_workers(config)) as pool:
        return pool.measure_all(jobs, label=name.removesuffix(".jsonl"))


def _describe(record: Record, recipe: Recipe) -> dict[str, Any]:
    return {
        "learning_rate": recipe.learning_rate,
        "values": list(record.values),
        "seed": record.seed,
        "steps": record.steps,
        "loss": record.loss,
        "loss_uniform": record.loss_reference,
    }
