"""Recipe tuning with the rates of the grid side by side; `rankadaptor.recovery.tuning` makes the choice."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

from rankadaptor.config import RunConfig
from rankadaptor.corpus import Record, RecordFile
from rankadaptor.models import load
from rankadaptor.pipeline.data_split import split_data
from rankadaptor.pipeline.preparation import make_recipe
from rankadaptor.pipeline.run_folder import RunFolder
from rankadaptor.pipeline.trials import TrialSource, build_measure
from rankadaptor.progress import Progress
from rankadaptor.recipe import Recipe
from rankadaptor.recovery.tuning import RecipeTrial, tune_recipe
from rankadaptor.runtime import Compute
from rankadaptor.space import Space
from rankadaptor.workers import run_side_by_side

logger = logging.getLogger(__name__)


def tune_setting(
    folder: RunFolder, config: RunConfig, space: Space, *, setting: str, compute: Compute
) -> tuple[TrialSource, dict[str, Any]]:
    """Tune the recipe as a step of the run, and return what trials of the tuned setting are made from.

    Args:
        folder: The run's folder, which holds the pruned model.
        config: The run.
        space: The run's space.
        setting: Name that records carry.
        compute: Device, precision and threads of a trial.

    Returns:
        The source of trials, with the tuned recipe; and the step's result, as of `tune_side_by_side`.
    """
    source = TrialSource(
        model=folder.pruned,
        space=space,
        recipe=make_recipe(config, space),
        split=split_data(config),
        steps=config.search.steps,
        setting=setting,
        records=folder.records,
        compute=compute,
    )
    tuned = folder.complete("tune", lambda: tune_side_by_side(config, source))
    source = dataclasses.replace(source, recipe=Recipe(**tuned["recipe"]))
    adopt_uniform(source)
    return source, tuned


def tune_side_by_side(config: RunConfig, source: TrialSource) -> dict[str, Any]:
    """Find the learning rate (and scaling exponent) at which the setting recovers best.

    The rates of the grid are measured on uniform in processes of their own, each with a record file of its
    own, so that a continued run repeats none. What the choice needs beyond the grid is measured here, one
    after another.

    Returns:
        `recipe`, `trials` and `tokens` (tokens trained).
    """
    given = config.recipe.tune
    if given is None:
        return {"recipe": source.recipe.to_json(), "trials": [], "tokens": 0}
    steps = given.steps or config.search.steps
    exponents = given.scaling_exponents or (source.recipe.scaling_exponent,)
    recipe = source.recipe.replace(scaling_exponent=exponents[0])
    jobs = [
        {
            "source": dataclasses.replace(
                source,
                recipe=recipe.replace(learning_rate=rate),
                records=locate_records(source, learning_rate=rate),
            ),
            "seed": config.seed,
            "steps": steps,
        }
        for rate in given.learning_rates
    ]
    grid: list[RecipeTrial] = []
    tokens = 0
    with Progress("tune the learning rate", len(jobs), unit="rates", interval=0.0) as progress:
        for index, record in run_side_by_side(measure_uniform, jobs, workers=config.compute.workers):
            rate = given.learning_rates[index]
            grid.append(_make_trial(record, learning_rate=rate, scaling_exponent=exponents[0]))
            tokens += record.tokens
            loss = "diverged" if record.loss is None else f"loss {record.loss:.4f}"
            progress.advance(note=f"rate {rate:.3g}: {loss}")
    per_trial = tokens // len(jobs)
    model, tokenizer = load(source.model, compute=source.compute)
    train, held_out = source.split.load()
    tuned = tune_recipe(
        model,
        tokenizer,
        source.space,
        data=train,
        held_out=held_out,
        recipe=recipe,
        learning_rates=given.learning_rates,
        scaling_exponents=exponents,
        steps=steps,
        seed=config.seed,
        compute=source.compute,
        known=grid,
    )
    return {
        "recipe": tuned.recipe.to_json(),
        "trials": [_describe_trial(trial) for trial in tuned.trials],
        "tokens": tokens + per_trial * (len(tuned.trials) - len(grid)),
    }


def locate_records(source: TrialSource, *, learning_rate: float) -> Path:
    """Return the record file of one rate of the grid."""
    return source.records.parent / "tuning" / f"rate-{learning_rate:.3g}.jsonl"


def adopt_uniform(source: TrialSource) -> None:
    """Copy uniform's trial at the chosen rate from the tuning to the run's records; it is not repeated."""
    known = RecordFile(source.records)
    for record in RecordFile(locate_records(source, learning_rate=source.recipe.learning_rate)).records:
        known.append(record)


def measure_uniform(*, source: TrialSource, seed: int, steps: int) -> Record:
    """Measure uniform under the source's recipe, or read its record."""
    uniform = source.space.uniform()
    records = RecordFile(source.records)
    record = records.find(uniform.values, seed=seed, steps=steps)
    if record is None:
        record = build_measure(source).run_trial(uniform, seed=seed, steps=steps, loss_uniform=None)
        records.append(record)
    return record


def _make_trial(record: Record, *, learning_rate: float, scaling_exponent: float) -> RecipeTrial:
    return RecipeTrial(
        learning_rate=learning_rate,
        scaling_exponent=scaling_exponent,
        values=record.values,
        loss=record.loss,
        seconds=record.seconds,
        error=record.error,
    )


def _describe_trial(trial: RecipeTrial) -> dict[str, Any]:
    return {**trial.to_json(), "status": "ok" if trial.error is None else "failed"}
