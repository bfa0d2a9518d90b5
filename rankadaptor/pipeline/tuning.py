"""Recipe tuning with parallel trials; `rankadaptor.recovery.tuning` makes the choice."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from rankadaptor.components.adapter import read_ranks
from rankadaptor.config import RunConfig
from rankadaptor.corpus import Record, RecordFile
from rankadaptor.pipeline.data_split import split_data
from rankadaptor.pipeline.execution import count_trial_workers, pick_execution
from rankadaptor.pipeline.preparation import make_recipe
from rankadaptor.pipeline.run_folder import RunFolder
from rankadaptor.pipeline.stored_files import check_dense
from rankadaptor.pipeline.trial_source import TrialSource
from rankadaptor.pipeline.trials import open_trials
from rankadaptor.progress import Progress
from rankadaptor.recipe import RANDOM, Recipe
from rankadaptor.recovery.tuning import RecipeTrial, choose_both
from rankadaptor.runtime import Compute
from rankadaptor.space import Allocation, Space
from rankadaptor.workers import JobPool, TimeLimit, raise_fault, run_jobs

logger = logging.getLogger(__name__)


def tune_setting(
    folder: RunFolder, config: RunConfig, space: Space, *, setting: str, compute: Compute
) -> tuple[TrialSource, dict[str, Any]]:
    """Tune the recipe as a step of the run, and return the source of trials with the tuned recipe.

    Args:
        folder: The run's folder, which holds the pruned model.
        config: The run.
        space: The run's space.
        setting: Setting name in the records.
        compute: Device, precision and threads of a trial.

    Returns:
        The source of trials, with the tuned recipe; and the step's result, as of `tune_side_by_side`.
    """
    recipe = make_recipe(config, space)
    if recipe.needs_teacher:
        check_dense(folder, config.model, purpose="teach the recovery")
    source = TrialSource(
        model=folder.pruned,
        space=space,
        recipe=recipe,
        split=split_data(config),
        steps=config.search.steps,
        setting=setting,
        records=folder.records,
        compute=compute,
        execution=pick_execution(config, compute),
        teacher=config.model if recipe.needs_teacher else None,
    )
    tuned = folder.complete("tune", lambda: tune_side_by_side(config, source))
    # The length of the full fine-tunes may have changed; no trial depends on it.
    recipe = Recipe(**tuned["recipe"]).replace(steps=config.recover.steps)
    source = dataclasses.replace(source, recipe=recipe)
    adopt_uniform(source)
    return source, tuned


def tune_side_by_side(config: RunConfig, source: TrialSource) -> dict[str, Any]:
    """Find the learning rate (and scaling exponent) with the lowest loss.

    Independent trials run in parallel, on the same workers as all trials of the run. Each recipe has its own
    record file, so that a continued run repeats none.

    Returns:
        `recipe`, `trials` and `tokens` (tokens trained).
    """
    given = config.recipe.tune
    if given is None:
        return {"recipe": source.recipe.to_json(), "trials": [], "tokens": 0}
    steps = given.steps or config.search.steps
    spent: list[int] = []
    with closing(open_trials(source, workers=count_trial_workers(config))) as pool:

        def measure(tried: Sequence[tuple[Allocation, Recipe]]) -> list[Record]:
            records = measure_recipes(pool, source, tried, seed=config.seed, steps=steps)
            spent.extend(record.tokens for record in records)
            return records

        tuned = choose_both(
            measure,
            source.space,
            recipe=source.recipe,
            learning_rates=config.tried_rates,
            scaling_exponents=given.scaling_exponents,
            initialisations=given.initialisations,
            seed=config.seed,
        )
    chosen = tuned.recipe
    logger.info(
        "chosen: rate %.3g, exponent %g, %s initialisation",
        chosen.learning_rate, chosen.scaling_exponent, chosen.initialisation,
    )  # fmt: skip
    return {
        "recipe": tuned.recipe.to_json(),
        "trials": [_describe_trial(trial) for trial in tuned.trials],
        "tokens": sum(spent),
    }


def measure_recipes(
    pool: JobPool, source: TrialSource, tried: Sequence[tuple[Allocation, Recipe]], *, seed: int, steps: int
) -> list[Record]:
    """Measure allocations, each with its own recipe, or read their records.

    Raises:
        StorageError: If a trial's worker is lost twice, since the recipe cannot be chosen without it.
    """
    files = {path: RecordFile(path) for path in (_locate(source, *pair) for pair in tried)}

    def find(allocation: Allocation, recipe: Recipe) -> Record | None:
        return files[_locate(source, allocation, recipe)].find(allocation.values, seed=seed, steps=steps)

    def find_reference(recipe: Recipe) -> float | None:
        stored = RecordFile(locate_records(source, recipe))
        record = stored.find(source.space.reference().values, seed=seed, steps=steps)
        return None if record is None else record.loss

    missing = [pair for pair in tried if find(*pair) is None]
    limit = TimeLimit(source.execution.trial_timeout)
    with Progress("tune", len(missing), unit="trials", interval=0.0) as progress:
        for (allocation, recipe), record, fault in run_jobs(
            pool,
            missing,
            arguments=lambda pair: (pair[0].values, seed, steps, find_reference(pair[1]), pair[1]),
            limit=limit,
            tells=lambda record: record.status == "ok",
        ):
            if fault is not None:
                raise_fault(fault)
            files[_locate(source, allocation, recipe)].append(record)
            progress.advance(note=_describe_outcome(recipe, record))
    found = [find(*pair) for pair in tried]
    return [record for record in found if record is not None]


def find_tuning_record(source: TrialSource, trial: Mapping[str, Any], *, config: RunConfig) -> Record | None:
    """Return the record of a trial in a tuning's result; None if its file is missing."""
    given = config.recipe.tune
    if given is None:
        return None
    recipe = source.recipe.replace(
        learning_rate=trial["learning_rate"],
        scaling_exponent=trial["scaling_exponent"],
        initialisation=trial.get("initialisation", RANDOM),
    )
    allocation = source.space.allocation(tuple(trial["values"]))
    records = RecordFile(_locate(source, allocation, recipe))
    return records.find(allocation.values, seed=config.seed, steps=given.steps or config.search.steps)


def locate_records(source: TrialSource, recipe: Recipe) -> Path:
    """Return the record file of uniform's trial with a recipe's rate and initialisation.

    All exponents give the same trial, unless slots are pinned at other ranks than that of the free ones.
    """
    start = "" if recipe.initialisation == RANDOM else f"-{recipe.initialisation}"
    ranks = {rank for rank in read_ranks(source.space.reference()).values() if rank > 0}
    exponent = f"-exponent-{recipe.scaling_exponent:g}" if len(ranks) > 1 and recipe.scaling_exponent else ""
    return source.records.parent / "tuning" / f"rate-{recipe.learning_rate:.3g}{start}{exponent}.jsonl"


def adopt_uniform(source: TrialSource) -> None:
    """Copy uniform's trial at the chosen rate from the tuning to the run's records."""
    known = RecordFile(source.records)
    for record in RecordFile(locate_records(source, source.recipe)).records:
        known.append(record)


def _locate(source: TrialSource, allocation: Allocation, recipe: Recipe) -> Path:
    path = locate_records(source, recipe)
    if allocation.is_reference:
        return path
    if path.stem.endswith(f"-exponent-{recipe.scaling_exponent:g}"):
        return path.with_name(f"{path.stem}-others.jsonl")
    return path.with_name(f"{path.stem}-exponent-{recipe.scaling_exponent:g}.jsonl")


def _describe_outcome(recipe: Recipe, record: Record) -> str:
    loss = "diverged" if record.loss is None else f"loss {record.loss:.4f}"
    start = "" if recipe.initialisation == RANDOM else f", {recipe.initialisation} initialisation"
    return f"rate {recipe.learning_rate:.3g}, exponent {recipe.scaling_exponent:g}{start}: {loss}"


def _describe_trial(trial: RecipeTrial) -> dict[str, Any]:
    return {**trial.to_json(), "status": "ok" if trial.error is None else "failed"}
