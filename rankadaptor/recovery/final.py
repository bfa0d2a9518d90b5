"""The full fine-tune of the chosen allocation."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankadaptor.components.adapter.lora.attach import attach_adapter
from rankadaptor.components.adapter.lora.folder import remember_base
from rankadaptor.data.rows import Source
from rankadaptor.defaults import RECOVERY
from rankadaptor.errors import InputError
from rankadaptor.model.identity import identify_base
from rankadaptor.recipe import DISTILL, RANDOM, Recipe
from rankadaptor.recovery.teachers import find_teacher
from rankadaptor.runtime import choose_compute
from rankadaptor.training.loop import fine_tune
from rankadaptor.training.loss import place
from rankadaptor.training.process_group import ALONE, ProcessGroup
from rankadaptor.training.result import TrainingResult
from rankadaptor.training.shared_weights import share_weights
from rankadaptor.training.sources import load_pair
from rankadaptor.training.start import digest_start, load_start

if TYPE_CHECKING:
    import torch
    from peft import PeftModel

    from rankadaptor.data.sequences import TokenSequence
    from rankadaptor.runtime import Compute
    from rankadaptor.space import Allocation

logger = logging.getLogger(__name__)


def train_adapter(
    model: Any,
    allocation: Allocation,
    recipe: Recipe,
    *,
    sequences: Sequence[TokenSequence],
    held_out: Sequence[TokenSequence],
    steps: int,
    seed: int,
    compute: Compute,
    evaluate_every: int | None = None,
    patience: int | None = RECOVERY.patience,
    checkpoint: str | Path | None = None,
    start: Mapping[str, torch.Tensor] | None = None,
    group: ProcessGroup = ALONE,
    teacher: Any = None,
) -> tuple[PeftModel, TrainingResult]:
    """Attach an allocation's adapter to a model and fine-tune it in full; used by `recover` and by runs.

    Args:
        model: A model without an adapter; it gets one, in place.
        allocation: Ranks.
        recipe: The recipe.
        sequences: Training data.
        held_out: Sequences for the held-out loss during training; may be empty.
        steps: Optimiser steps.
        seed: Initialisation of the adapter and order of the data.
        compute: Device, precision and threads.
        evaluate_every: Steps between two measurements of the held-out loss; None takes a fifth of the steps.
        patience: Stop after so many measurements without a new lowest loss, and keep the adapter of the
            lowest one; None never stops early.
        checkpoint: Folder to resume from and to write to.
        start: Initial adapter weights, by PEFT's names.
        group: The processes that share the fine-tune.
        teacher: The model that the recipe's loss follows.

    Returns:
        The model with its adapter, and the result of the fine-tune.

    Raises:
        InputError: If data, allocation or start do not fit.
        CheckpointError: If `checkpoint` holds another fine-tune.
        TrainingError: If the loss is no longer finite.
    """
    peft_model = attach_adapter(model, allocation, recipe, seed=seed)
    if start is not None:
        load_start(peft_model, start)
        recipe = recipe.replace(initialisation=RANDOM)  # the weights are given
    result = fine_tune(
        peft_model,
        sequences,
        recipe=recipe,
        steps=steps,
        seed=seed,
        compute=compute,
        held_out=held_out or None,
        evaluate_every=evaluate_every or RECOVERY.space_evaluations(steps) if held_out else None,
        patience=patience if held_out else None,
        checkpoint=checkpoint,
        group=group,
        teacher=teacher,
    )
    peft_model.steps_trained = result.steps
    return peft_model, result


def recover(
    pruned: Any,
    tokenizer: Any,
    allocation: Allocation,
    *,
    data: Source,
    held_out: Source | None = None,
    recipe: Recipe | None = None,
    steps: int | None = None,
    seed: int = 0,
    evaluate_every: int | None = None,
    patience: int | None = RECOVERY.patience,
    compute: Compute | None = None,
    checkpoint: str | Path | None = None,
    start: Mapping[str, torch.Tensor] | None = None,
    group: ProcessGroup = ALONE,
    teacher: Any = None,
) -> PeftModel:
    """Fine-tune a pruned model with one rank per linear, and return it as a plain PEFT model.

    The given model does not change: the result is a separate model that shares its weights in memory.
    Its `save_pretrained` writes a folder that plain `PeftModel.from_pretrained` reads, with a card, and with
    the digest of the weights that the adapter belongs to. It names the folder of the pruned model as its base
    if that was saved (`save_pruned`) or loaded.

    With `held_out`, the loss on it is measured five times and logged, as in a run. With `patience` too, the
    fine-tune stops after so many measurements without a new low, and the adapter of the lowest one is
    returned.

    Args:
        pruned: The model to recover; moved to `compute`'s device, otherwise not changed.
        tokenizer: Its tokenizer.
        allocation: Ranks, from a search, a verdict, or `space.reference()`.
        data: Training rows, a path, or a kit name.
        held_out: Rows for the held-out loss during training, disjoint from `data`.
        recipe: Defaults to `Recipe()`; with a teacher its loss is `distill`.
        steps: Optimiser steps; the recipe's by default.
        seed: Seed of the adapter's initialisation and of the data order.
        evaluate_every: Steps between two measurements of the held-out loss; None takes a fifth of the steps.
        patience: Measurements without a new lowest loss before it stops; None never stops early.
        compute: Device, precision and threads; chosen and logged by default.
        checkpoint: Folder to resume from and to write to.
        start: Initial adapter weights, by PEFT's names, instead of random A and zero B; for example
            `ElasticAdapter.slice(allocation)`.
        group: The processes that share the fine-tune, from `join_process_group`; all end with the same
            adapter.
        teacher: The model whose predictions the recipe's loss follows, as a rule the model before pruning: a
            model, what `load` returned, or a name or folder that `load` reads. It is not changed. If it is
            the given model itself, the divergence begins at zero and only holds the adapter back.

    Raises:
        InputError: If data, allocation or start do not fit, `patience` is given without `held_out`, or the
            teacher has another vocabulary or tokenizer, or the recipe does not read it.
        CheckpointError: If `checkpoint` holds another fine-tune.
        TrainingError: If the loss is no longer finite.
    """
    if recipe is None:
        recipe = Recipe() if teacher is None else Recipe(loss=DISTILL)
    steps = steps if steps is not None else recipe.steps
    compute = compute if compute is not None else choose_compute()
    sequences, kept_back = load_pair(
        data, held_out, tokenizer, max_length=recipe.sequence_length, model=pruned
    )
    if patience is not None and not kept_back:
        raise InputError(
            f"patience={patience}: early stopping needs held_out rows. Give them, or no patience."
        )
    guide = find_teacher(teacher, tokenizer, compute=compute)
    place(pruned, compute)
    shared = share_weights(pruned)
    base = identify_base(pruned)
    if (
        start is not None and checkpoint is not None
    ):  # a checkpoint with other initial weights must not be continued
        checkpoint = Path(checkpoint) / f"start-{digest_start(start)}"
    peft_model, result = train_adapter(
        shared,
        allocation,
        recipe,
        sequences=sequences,
        held_out=kept_back,
        steps=steps,
        seed=seed,
        compute=compute,
        evaluate_every=evaluate_every,
        patience=patience,
        checkpoint=checkpoint,
        start=start,
        group=group,
        teacher=guide,
    )
    if result.teacher_tokens:
        logger.info(
            "the teacher read %d tokens in %.1f of %.1f seconds",
            result.teacher_tokens, result.teacher_seconds, result.seconds,
        )  # fmt: skip
    remember_base(peft_model, pruned, base=base, shared=True)
    logger.info(
        "recovered in %d steps, %d tokens; training loss %.4f → %.4f",
        result.steps, result.tokens, result.losses[0], result.losses[-1],
    )  # fmt: skip
    return peft_model.eval()
