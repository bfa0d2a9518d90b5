"""One training, from its pruned model to its record."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments.recovery.models import Inputs
from experiments.recovery.training import LLM_PRUNER, Record, Training
from rankadaptor.data import TokenSequence
from rankadaptor.data.text_sets import TRAINING
from rankadaptor.errors import TrainingError
from rankadaptor.model import digest_model
from rankadaptor.pipeline.compression.recovering import make_recipe, recover_merged
from rankadaptor.recipe import Recipe
from rankadaptor.recovery.llm_pruner import BATCH, make_llm_pruner_recipe
from rankadaptor.runtime import find_commit

logger = logging.getLogger(__name__)


def run_training(training: Training, inputs: Inputs) -> Record:
    """Train, measure and return the record; an interrupted training continues from its checkpoint.

    A training that diverges has a record without losses.
    """
    model = inputs.load_structure(training.widths, training.ratio)
    recipe, sequences = make_training_recipe(training, inputs)
    details: dict[str, Any] = {
        "steps": recipe.steps,
        "batch_size": recipe.batch_size,
        "rank": recipe.reference_rank,
        "model": digest_model(model),
        "precision": inputs.compute.dtype,
        "commit": find_commit(),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "error": None,
    }
    try:
        recovered = recover_merged(
            model,
            recipe,
            sequences=sequences,
            steps=recipe.steps,
            seed=training.seed,
            compute=inputs.compute,
            checkpoint=inputs.study.folder / "checkpoints" / training.label,
        )
    except TrainingError as error:
        logger.warning("%s: %s", training.label, error)
        return Record(training, None, getattr(error, "tokens", 0), 0.0, {**details, "error": str(error)})
    losses = inputs.measure(recovered.model)
    logger.info("%s: losses %s", training.label, {name: round(loss, 4) for name, loss in losses.items()})
    return Record(training, losses, recovered.tokens, recovered.seconds, details)


def make_training_recipe(training: Training, inputs: Inputs) -> tuple[Recipe, Sequence[TokenSequence]]:
    """Return the recipe of a training, as long as its tokens last, and what it trains on."""
    study = inputs.study
    if training.recipe == LLM_PRUNER:
        rows = inputs.instructions
        mean = sum(map(len, rows)) / len(rows)
        steps = max(round(training.tokens / (mean * BATCH)), 1)
        return make_llm_pruner_recipe(steps=steps), rows
    recipe = make_recipe(
        rank=study.rank,
        batch_size=study.batch_size,
        length=study.length,
        steps=max(training.tokens // study.tokens_per_step, 1),
        learning_rate=training.learning_rate,
    )
    return recipe.replace(schedule=training.schedule), inputs.texts[TRAINING]


@contextlib.contextmanager
def claim(folder: Path) -> Iterator[bool]:
    """Tell whether this process may do what a folder stands for; another one may be at it."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)
