"""Methods that measure no trial of an allocation: fixed rules, scores, and slices of one elastic adapter."""

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
    from experiments.compare.config import ComparisonConfig
    from experiments.compare.prepared_setting import PreparedSetting

SLOPE = 0.5  # from half to one and a half times uniform
MOST_RATES = 8
ELASTIC_SCORED = 4  # scored slices per trial at most
ELASTIC_READS = 0.5  # share of all training tokens that scoring further slices may take
SCORED_EXAMPLES = 32
DAMAGES = ("removed_share", "lost_importance")


def choose_uniform(prepared: PreparedSetting, _given: ComparisonConfig) -> Choice:
    """Take the same rank everywhere."""
    return Choice(prepared.space.reference().values)


def choose_tuned_uniform(prepared: PreparedSetting, given: ComparisonConfig) -> Choice:
    """Spend the trials on the learning rate of uniform ranks.

    Each rate is tried at the length of a recovery if the trials suffice for two of these, else at the length
    of a trial. Rates are half octaves apart around the setting's own, nearest first.
    """
    recipe, affordable = prepared.source.recipe, given.trials * prepared.steps // prepared.source.recipe.steps
    steps = recipe.steps if affordable >= 2 else prepared.steps
    count = min(affordable if affordable >= 2 else given.trials, MOST_RATES)
    octaves = [((index + 1) // 2) * (-0.5 if index % 2 else 0.5) for index in range(count)]
    tried = [recipe.replace(learning_rate=recipe.learning_rate * 2**octave) for octave in octaves]
    uniform = prepared.space.reference()
    source = dataclasses.replace(prepared.source, records=prepared.folder.path / "rates" / "records.jsonl")
    with contextlib.closing(open_trials(source, workers=prepared.pool.workers)) as pool:
        pairs = [(uniform, each) for each in tried]
        records = measure_recipes(pool, source, pairs, seed=prepared.seed, steps=steps)
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


def choose_linear_in_depth(prepared: PreparedSetting, _given: ComparisonConfig) -> Choice:
    """Choose ranks that grow linearly with depth [PRILoRA]_."""
    return Choice(linear_in_depth(prepared.space, slope=SLOPE).values)


def choose_by_damage(prepared: PreparedSetting, _given: ComparisonConfig) -> Choice:
    """Choose ranks in proportion to what pruning removed from a block; uniform if it is the same in all."""
    for name in DAMAGES:
        damage = np.array([slot.attribute(name) for slot in prepared.space.slots])
        if np.ptp(damage) > 1e-6 * max(float(damage.max()), 1e-12):
            allocation = allocate_by_weights(prepared.space, damage / damage.mean())
            return Choice(allocation.values, details={"damage": name})
    return Choice(prepared.space.reference().values, details={"damage": None})


def choose_by_spectra(prepared: PreparedSetting, _given: ComparisonConfig) -> Choice:
    """Allocate the ranks by the singular values of the first gradients."""
    from rankadaptor.proxies import measure_spectra

    started, short = time.monotonic(), build_measure(prepared.source)
    table = measure_spectra(
        short.model,
        prepared.space,
        short.sequences,
        compute=short.compute,
        examples=SCORED_EXAMPLES,
        seed=prepared.seed,
    )
    allocation = allocate_by_scores(prepared.space, table)
    return Choice(allocation.values, table.tokens, time.monotonic() - started)


def share_elastic(trials: int, per_trial: float, per_score: float) -> tuple[float, int]:
    """Divide the tokens of all trials between training and scoring.

    Args:
        trials: Trials of the other methods; as many scores are not charged, since each trial includes one.
        per_trial: Tokens that a trial trains on.
        per_score: Tokens of the held-out text.

    Returns:
        Tokens to train on, and how many slices to score.
    """
    budget = trials * per_trial
    more = min((ELASTIC_SCORED - 1) * trials, int(ELASTIC_READS * budget / per_score))
    return budget - more * per_score, trials + more


def choose_elastic(prepared: PreparedSetting, given: ComparisonConfig) -> Choice:
    """Train one elastic adapter and search among its slices, for the tokens of all trials together.

    Every trial of the other methods scores the held-out text once. Further scored slices reduce the training
    steps.
    """
    from rankadaptor.corpus import RecordFile
    from rankadaptor.proxies import ElasticAdapter

    short = build_measure(prepared.source)
    per_step = short.recipe.batch_size * sum(map(len, short.sequences)) / len(short.sequences)
    per_score = sum(map(len, short.held_out))
    steps, scored = share_elastic(given.trials, prepared.steps * per_step, per_score)
    folder = prepared.folder.path / f"elastic-{given.trials}x{prepared.steps}"
    elastic = ElasticAdapter.train(
        short,
        prepared.space,
        steps=max(1, round(steps / per_step)),
        seed=prepared.seed,
        checkpoint=folder / "checkpoint",
        records=RecordFile(folder / "records.jsonl"),
    )
    trained = time.monotonic()
    search = Search(
        prepared.space, make_predictor("ridge", seed=prepared.seed), seed=prepared.seed, initial=given.trials
    )
    search.run(elastic.measure, evaluations=scored)
    best = rank_measured(search)[0]
    read = max(len(search.records) - given.trials, 0) * per_score
    gain = float(search.conditioned.predict(prepared.space, [prepared.space.allocation(best)]).mean[0])
    return Choice(
        best if gain > 0 else prepared.space.reference().values,
        elastic.tokens + read,
        elastic.seconds + time.monotonic() - trained,
        details={"steps": elastic.steps, "scored": len(search.records), "expected_gain": gain},
    )
