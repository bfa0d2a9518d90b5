"""Tuning the adapter's initialisation and learning rate, alone or before a search of ranks."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
from typing import TYPE_CHECKING

import numpy as np

from experiments.compare.choice import Choice
from experiments.compare.guided import choose_remeasured
from rankadaptor.pipeline.trials import open_trials
from rankadaptor.pipeline.tuning import measure_recipes
from rankadaptor.recipe import GRADIENT, RANDOM

if TYPE_CHECKING:
    from experiments.compare.config import ComparisonConfig
    from experiments.compare.prepared_setting import PreparedSetting
    from rankadaptor.corpus import Record
    from rankadaptor.space import Allocation

logger = logging.getLogger(__name__)

TRIED = (
    (RANDOM, 0.0), (GRADIENT, 0.0), (GRADIENT, 0.5), (GRADIENT, -0.5), (RANDOM, 0.5), (GRADIENT, 1.0),
    (RANDOM, -0.5), (GRADIENT, 1.5),
)  # fmt: skip
"""Initialisations and rates in the order that they are tried; rates in octaves from the setting's own."""
LEAST = 6
"""Smallest number of trials for a search of ranks."""


def choose_initialisation(prepared: PreparedSetting, given: ComparisonConfig) -> Choice:
    """Spend all trials on the initialisation and the learning rate of uniform ranks."""
    return tune_initialisation(prepared, prepared.space.reference(), trials=given.trials)


def tune_initialisation(prepared: PreparedSetting, allocation: Allocation, *, trials: int) -> Choice:
    """Choose an allocation's initialisation and learning rate.

    Each candidate is trained at the length of a recovery if the trials suffice for two of these, else at the
    length of a trial. Another allocation than uniform is paired with uniform under each candidate, which
    halves the number of candidates.

    Args:
        prepared: The setting.
        allocation: The allocation that is trained.
        trials: Trials that may be spent; a recovery counts as the number of trials with the same steps.
    """
    recipe, uniform = prepared.source.recipe, prepared.space.reference()
    each_takes = 1 if allocation.is_reference else 2
    affordable = trials * prepared.steps // recipe.steps // each_takes
    steps = recipe.steps if affordable >= 2 else prepared.steps
    quantised = prepared.source.compute.quantise is not None  # no gradients of the base weights
    usable = [(begin, octave) for begin, octave in TRIED if not (quantised and begin == GRADIENT)]
    count = affordable if affordable >= 2 else max(trials // each_takes, 1)
    tried = [
        recipe.replace(initialisation=begin, learning_rate=recipe.learning_rate * 2**octave)
        for begin, octave in usable[:count]
    ]
    source = dataclasses.replace(prepared.source, records=prepared.folder.path / "rates" / "records.jsonl")
    with contextlib.closing(open_trials(source, workers=prepared.pool.workers)) as pool:
        paired: list[Record] = []
        if not allocation.is_reference:
            plain = [(uniform, each) for each in tried]
            paired = measure_recipes(pool, source, plain, seed=prepared.seed, steps=steps)
        pairs = [(allocation, each) for each in tried]
        records = measure_recipes(pool, source, pairs, seed=prepared.seed, steps=steps)
    losses = [math.inf if record.loss is None else record.loss for record in records]
    best = tried[int(np.argmin(losses))]
    if not np.isfinite(losses).any():
        logger.warning(
            "no initialisation and rate could be measured (%s): the setting's own are used", records[0].error
        )
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


def choose_initialisation_then_ranks(prepared: PreparedSetting, given: ComparisonConfig) -> Choice:
    """Spend half of the trials on initialisation and rate, and the rest on a search of ranks with both.

    The search gets at least `LEAST` trials.
    """
    first = max(1, given.trials - max(given.trials // 2, LEAST))
    tuned = choose_initialisation(prepared, given.model_copy(update={"trials": first}))
    with prepared.change(tuned.change_recipe(prepared.source.recipe)) as changed:
        found = choose_remeasured(changed, given.model_copy(update={"trials": given.trials - first}))
    return dataclasses.replace(
        found,
        tokens=tuned.tokens + found.tokens,
        seconds=tuned.seconds + found.seconds,
        learning_rate=tuned.learning_rate,
        initialisation=tuned.initialisation,
        details={**tuned.details, **found.details},
    )
