"""The recipe of a run's full fine-tunes, chosen for their length on uniform; `recovery.choosing` says how."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from rankadaptor.config import RunConfig
from rankadaptor.corpus import Record, RecordFile
from rankadaptor.files import compute_digest
from rankadaptor.pipeline.execution import count_trial_workers
from rankadaptor.pipeline.run_folder import RunFolder
from rankadaptor.pipeline.stored_files import check_dense
from rankadaptor.pipeline.trial_source import TrialSource
from rankadaptor.pipeline.trials import open_trials
from rankadaptor.progress import Progress
from rankadaptor.recipe import Recipe
from rankadaptor.recovery.choosing import halve_recipes
from rankadaptor.recovery.grid import describe_changes
from rankadaptor.workers import JobPool, TimeLimit, raise_fault, run_jobs

logger = logging.getLogger(__name__)

FOLDER = "choosing"


def choose_for_recovery(
    folder: RunFolder, config: RunConfig, source: TrialSource
) -> tuple[TrialSource, dict[str, Any] | None]:
    """Choose the recipe of the full fine-tunes as a step of the run.

    Args:
        folder: The run's folder.
        config: The run.
        source: The source of trials, with the recipe of the search.

    Returns:
        The source with the recipe of the full fine-tunes, and the step's result: `recipe`, `changes`,
        `rungs`, `left_out`, `tokens`, `share`; None if the run keeps the recipe of the search.
    """
    given = config.recover.choose
    if given is None:
        return source, None

    def choose() -> dict[str, Any]:
        assert given is not None
        recipe = source.recipe.replace(steps=config.recover.steps)
        if given.follows_teacher:
            check_dense(folder, config.model, purpose="teach the recovery")
        taught = dataclasses.replace(
            source, teacher=config.model if given.follows_teacher else source.teacher
        )
        with closing(open_trials(taught, workers=count_trial_workers(config))) as pool:
            return halve_recipes(
                lambda recipes: measure_rung(pool, source, recipes, folder=folder, seed=config.seed),
                recipe=recipe,
                grid=given.list_grid(),
                share=given.share,
            ).to_json()

    chosen = folder.complete("choose", choose)
    recipe = Recipe(**chosen["recipe"])
    logger.info("full fine-tunes: %s", describe_changes(chosen["changes"]))
    teacher = config.model if recipe.needs_teacher else None
    return dataclasses.replace(source, recipe=recipe, teacher=teacher), chosen


def measure_rung(
    pool: JobPool, source: TrialSource, recipes: Sequence[Recipe], *, folder: RunFolder, seed: int
) -> list[Record]:
    """Train uniform with each recipe over the recipe's steps, or read the records of it.

    Raises:
        StorageError: If a training's worker is lost twice.
    """
    uniform = source.space.reference()

    def find(recipe: Recipe) -> Record | None:
        return RecordFile(_locate(folder, recipe)).find(uniform.values, seed=seed, steps=recipe.steps)

    missing = [recipe for recipe in recipes if find(recipe) is None]
    with Progress("choose", len(missing), unit="trainings", interval=0.0) as progress:
        for recipe, record, fault in run_jobs(
            pool,
            missing,
            arguments=lambda each: (uniform.values, seed, each.steps, None, each),
            limit=TimeLimit(source.execution.trial_timeout),
            tells=lambda record: record.status == "ok",
        ):
            if fault is not None:
                raise_fault(fault)
            RecordFile(_locate(folder, recipe)).append(record)
            progress.advance(note=f"rate {recipe.learning_rate:.3g}")
    return [record for record in map(find, recipes) if record is not None]


def _locate(folder: RunFolder, recipe: Recipe) -> Path:
    return folder.path / FOLDER / f"{compute_digest(recipe.to_json())}.jsonl"
