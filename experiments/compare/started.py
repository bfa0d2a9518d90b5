"""More than ranks: where the adapter starts and its learning rate, alone and before a search of ranks."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
from typing import TYPE_CHECKING

import numpy as np

from experiments.compare.choice import Choice
from experiments.compare.guided import choose_ours
from rankadaptor.pipeline.trials import open_trials
from rankadaptor.pipeline.tuning import measure_recipes
from rankadaptor.recipe import GRADIENT, RANDOM

if TYPE_CHECKING:
    from experiments.compare.arena import Arena
    from experiments.compare.config import ComparisonConfig
    from rankadaptor.corpus import Record
    from rankadaptor.space import Allocation

logger = logging.getLogger(__name__)

TRIED = (
    (RANDOM, 0.0), (GRADIENT, 0.0), (GRADIENT, 0.5), (GRADIENT, -0.5), (RANDOM, 0.5), (GRADIENT, 1.0),
    (RANDOM, -0.5), (GRADIENT, 1.5),
)  # fmt: skip
"""Starts and rates in the order that they are afforded; rates in octaves from the setting's own."""
LEAST = 6
"""Trials below which a search of ranks is not worth beginning."""


def choose_started_uniform(arena: Arena, given: ComparisonConfig) -> Choice:
    """Spend the trials on uniform's start and learning rate."""
    return tune_start(arena, arena.space.reference(), trials=given.trials)


def tune_start(arena: Arena, allocation: Allocation, *, trials: int) -> Choice:
    """Choose an allocation's start and learning rate, at full length if that leaves two to compare.

    Any other allocation than uniform is paired with it under each of them, which halves how many are tried.

    Args:
        arena: The setting.
        allocation: What is trained under each of them.
        trials: Trials that may be spent; a full length counts as many as it is long.
    """
    recipe, uniform = arena.source.recipe, arena.space.reference()
    each_takes = 1 if allocation.is_reference else 2
    affordable = trials * arena.steps // recipe.steps // each_takes
    steps = recipe.steps if affordable >= 2 else arena.steps
    quantised = arena.source.compute.quantise is not None  # its linears have no gradients to start along
    usable = [(start, octave) for start, octave in TRIED if not (quantised and start == GRADIENT)]
    count = affordable if affordable >= 2 else max(trials // each_takes, 1)
    tried = [
        recipe.replace(initialisation=start, learning_rate=recipe.learning_rate * 2**octave)
        for start, octave in usable[:count]
    ]
    source = dataclasses.replace(arena.source, records=arena.folder.path / "rates" / "records.jsonl")
    with contextlib.closing(open_trials(source, workers=arena.pool.workers)) as pool:
        paired: list[Record] = []
        if not allocation.is_reference:
            plain = [(uniform, each) for each in tried]
            paired = measure_recipes(pool, source, plain, seed=arena.seed, steps=steps)
        pairs = [(allocation, each) for each in tried]
        records = measure_recipes(pool, source, pairs, seed=arena.seed, steps=steps)
    losses = [math.inf if record.loss is None else record.loss for record in records]
    best = tried[int(np.argmin(losses))]
    if not np.isfinite(losses).any():
        logger.warning("no start and rate could be measured (%s): the setting's own stay", records[0].error)
        best = recipe
    return Choice(
        allocation.values,
        sum(record.tokens for record in [*paired, *records]),
        sum(record.seconds for record in [*paired, *records]),
        learning_rate=None if best.learning_rate == recipe.learning_rate else best.learning_rate,
        initialisation=None if best.initialisation == recipe.initialisation else best.initialisation,
        details={
            "steps": steps,
            "recipes": {
                f"{each.initialisation} {each.learning_rate:.4g}": record.loss
                for each, record in zip(tried, records, strict=True)
            },
        },
    )


def choose_started(arena: Arena, given: ComparisonConfig) -> Choice:
    """Spend half of the trials on start and rate, and the other half on a search of ranks under both.

    Below twelve trials the search gets more than half.
    """
    first = max(1, given.trials - max(given.trials // 2, LEAST))
    begun = choose_started_uniform(arena, given.model_copy(update={"trials": first}))
    with arena.change(begun.change_recipe(arena.source.recipe)) as changed:
        found = choose_ours(changed, given.model_copy(update={"trials": given.trials - first}))
    return dataclasses.replace(
        found,
        tokens=begun.tokens + found.tokens,
        seconds=begun.seconds + found.seconds,
        learning_rate=begun.learning_rate,
        initialisation=begun.initialisation,
        details={**begun.details, **found.details},
    )
