"""One training, from its pruned model to its record."""

from __future__ import annotations

import contextlib
import copy
import datetime
import fcntl
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments.recovery.models import Inputs
from experiments.recovery.training import LLM_PRUNER, Record, Training
from rankadaptor.components.adapter.tuners.merging import merge_trained
from rankadaptor.components.precision.formats import find_format
from rankadaptor.components.precision.rounding import find_rounding
from rankadaptor.data import TokenSequence
from rankadaptor.data.text_sets import TRAINING
from rankadaptor.errors import NonFiniteError, TrainingError
from rankadaptor.methods import find_method
from rankadaptor.model import digest_model
from rankadaptor.model.families import describe_linears
from rankadaptor.pipeline.compression.recovering import make_recipe
from rankadaptor.recipe import Recipe
from rankadaptor.recovery.final import train_adapter
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
    inputs.compute.apply()
    try:
        trained, result = train_adapter(
            model,
            None,
            recipe,
            sequences=sequences,
            held_out=(),
            steps=recipe.steps,
            seed=training.seed,
            compute=inputs.compute,
            checkpoint=inputs.study.folder / "checkpoints" / training.label,
            types=name_types(model, training.bits) if training.bits is not None else None,
            teacher=inputs.load_dense() if recipe.needs_teacher else None,
        )
        merged = merge_trained(trained, find_method(recipe.method))
        losses = inputs.measure(merged)
    except (TrainingError, NonFiniteError) as error:
        logger.warning("%s: %s", training.label, error)
        return Record(training, None, getattr(error, "tokens", 0), 0.0, {**details, "error": str(error)})
    logger.info("%s: losses %s", training.label, {name: round(loss, 4) for name, loss in losses.items()})
    details |= {"teacher_tokens": result.teacher_tokens, "teacher_seconds": round(result.teacher_seconds, 1)}
    if training.is_rounded_afterwards(inputs.study.ratios[0]):
        details["rounded"] = {kind: measure_rounded(merged, kind, inputs) for kind in inputs.study.types}
    return Record(training, losses, result.tokens, result.seconds, details)


def name_types(model: Any, kind: str) -> dict[str, str]:
    """Return a type for every linear of the blocks whose rows it fits."""
    fitting = find_format(kind)
    return {each.name: kind for each in describe_linears(model) if fitting.allows(each.in_features)}


def measure_rounded(model: Any, kind: str, inputs: Inputs) -> dict[str, float]:
    """Return the losses of a model whose linears were rounded to a type after its recovery."""
    rounded, round_weight = copy.deepcopy(model), find_rounding(kind)
    for name in name_types(rounded, kind):
        weight = rounded.get_submodule(name).weight
        weight.data = round_weight(weight.data.float()).to(weight.dtype)
    return inputs.measure(rounded)


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
        schedule=training.schedule,
        loss=training.loss_kind,
        method=training.method,
    )
    return recipe, inputs.texts[TRAINING]


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
