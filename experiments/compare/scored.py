"""Methods that measure no trial of an allocation: rules, scores, and one run that serves them all."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from typing import TYPE_CHECKING

import numpy as np

from experiments.compare.choice import Choice
from experiments.compare.guided import rank_measured
from rankadaptor.components.adapter import linear_in_depth
from rankadaptor.pipeline.design import allocate_by_weights
from rankadaptor.pipeline.trials import build_measure, open_trials
from rankadaptor.pipeline.tuning import measure_recipes
from rankadaptor.predictor import make_predictor
from rankadaptor.search import Search, allocate_by_scores

if TYPE_CHECKING:
    from experiments.compare.arena import Arena
    from experiments.compare.config import ComparisonConfig

SLOPE = 0.5  # from half to one and a half times uniform
MOST_RATES = 8
ELASTIC_SCORED = 4  # at most so many slices scored per trial that the super-adapter may cost
ELASTIC_READS = 0.5  # at most so much of what all trials train on goes into scoring more slices than trials
SCORED_EXAMPLES = 32
DAMAGES = ("removed_share", "lost_importance")


def choose_uniform(arena: Arena, _given: ComparisonConfig) -> Choice:
    """Take the same rank everywhere."""
    return Choice(arena.space.reference().values)


def choose_tuned_uniform(arena: Arena, given: ComparisonConfig) -> Choice:
    """Spend the trials on uniform's learning rate instead, at full length if that leaves two to compare.

    Rates lie half octaves apart around the setting's own, nearest first.
    """
    recipe, affordable = arena.source.recipe, given.trials * arena.steps // arena.source.recipe.steps
    steps = recipe.steps if affordable >= 2 else arena.steps
    count = min(affordable if affordable >= 2 else given.trials, MOST_RATES)
    octaves = [((index + 1) // 2) * (-0.5 if index % 2 else 0.5) for index in range(count)]
    tried = [recipe.replace(learning_rate=recipe.learning_rate * 2**octave) for octave in octaves]
    uniform = arena.space.reference()
    source = dataclasses.replace(arena.source, records=arena.folder.path / "rates" / "records.jsonl")
    with contextlib.closing(open_trials(source, workers=arena.pool.workers)) as pool:
        pairs = [(uniform, each) for each in tried]
        records = measure_recipes(pool, source, pairs, seed=arena.seed, steps=steps)
    losses = [math.inf if record.loss is None else record.loss for record in records]
    best = tried[int(np.argmin(losses))].learning_rate
    return Choice(
        uniform.values,
        sum(record.tokens for record in records),
        sum(record.seconds for record in records),
        learning_rate=None if best == recipe.learning_rate else best,
        details={
            "steps": steps,
            "rates": {
                f"{each.learning_rate:.4g}": record.loss for each, record in zip(tried, records, strict=True)
            },
        },
    )


def choose_linear_in_depth(arena: Arena, _given: ComparisonConfig) -> Choice:
    """Let ranks grow with depth [PRILoRA]_."""
    return Choice(linear_in_depth(arena.space, slope=SLOPE).values)


def choose_by_damage(arena: Arena, _given: ComparisonConfig) -> Choice:
    """Give ranks in proportion to what pruning took from a block; uniform where it took the same from all."""
    for name in DAMAGES:
        damage = np.array([slot.attribute(name) for slot in arena.space.slots])
        if np.ptp(damage) > 1e-6 * max(float(damage.max()), 1e-12):
            allocation = allocate_by_weights(arena.space, damage / damage.mean())
            return Choice(allocation.values, details={"damage": name})
    return Choice(arena.space.reference().values, details={"damage": None})


def choose_by_spectra(arena: Arena, _given: ComparisonConfig) -> Choice:
    """Deal the ranks out by the singular values of the first gradients."""
    from rankadaptor.proxies import measure_spectra

    started, short = time.monotonic(), build_measure(arena.source)
    table = measure_spectra(
        short.model,
        arena.space,
        short.sequences,
        compute=short.compute,
        examples=SCORED_EXAMPLES,
        seed=arena.seed,
    )
    allocation = allocate_by_scores(arena.space, table)
    return Choice(allocation.values, table.tokens, time.monotonic() - started)


def share_elastic(trials: int, per_trial: float, per_score: float) -> tuple[float, int]:
    """Share the tokens of all trials between training and scoring.

    Args:
        trials: Trials of the other methods; as many scores are part of them and cost nothing here either.
        per_trial: Tokens that a trial trains on.
        per_score: Tokens of the held-out text.

    Returns:
        Tokens to train on, and how many slices to score.
    """
    budget = trials * per_trial
    more = min((ELASTIC_SCORED - 1) * trials, int(ELASTIC_READS * budget / per_score))
    return budget - more * per_score, trials + more


def choose_elastic(arena: Arena, given: ComparisonConfig) -> Choice:
    """Train one super-adapter and search among its slices, for the price of all trials together.

    Every trial of the others scores the held-out text once. Slices beyond as many are paid for with steps.
    """
    from rankadaptor.corpus import RecordFile
    from rankadaptor.proxies import ElasticAdapter

    short = build_measure(arena.source)
    per_step = short.recipe.batch_size * sum(map(len, short.sequences)) / len(short.sequences)
    per_score = sum(map(len, short.held_out))
    steps, scored = share_elastic(given.trials, arena.steps * per_step, per_score)
    folder = arena.folder.path / f"elastic-{given.trials}x{arena.steps}"
    elastic = ElasticAdapter.train(
        short,
        arena.space,
        steps=max(1, round(steps / per_step)),
        seed=arena.seed,
        checkpoint=folder / "checkpoint",
        records=RecordFile(folder / "records.jsonl"),
    )
    trained = time.monotonic()
    search = Search(
        arena.space, make_predictor("ridge", seed=arena.seed), seed=arena.seed, initial=given.trials
    )
    search.run(elastic.measure, evaluations=scored)
    best = rank_measured(search)[0]
    read = max(len(search.records) - given.trials, 0) * per_score
    gain = float(search.conditioned.predict(arena.space, [arena.space.allocation(best)]).mean[0])
    return Choice(
        best if gain > 0 else arena.space.reference().values,
        elastic.tokens + read,
        elastic.seconds + time.monotonic() - trained,
        details={"steps": elastic.steps, "scored": len(search.records), "expected_gain": gain},
    )
