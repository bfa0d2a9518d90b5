"""The full fine-tune of the chosen allocation."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankadaptor.data.rows import Source
from rankadaptor.pruning.identity import identify_base
from rankadaptor.recipe import RANDOM, Recipe
from rankadaptor.recovery.adapter_folder import remember_base
from rankadaptor.recovery.lora import attach_adapter
from rankadaptor.recovery.loss import place
from rankadaptor.recovery.process_group import ALONE, ProcessGroup
from rankadaptor.recovery.shared_weights import share_weights
from rankadaptor.recovery.sources import load_pair
from rankadaptor.recovery.start import digest_start, load_start
from rankadaptor.recovery.training import fine_tune
from rankadaptor.runtime import choose_compute

if TYPE_CHECKING:
    import torch
    from peft import PeftModel

    from rankadaptor.runtime import Compute
    from rankadaptor.space import Allocation

logger = logging.getLogger(__name__)

EVALUATIONS = 10  # held-out measurements of a final fine-tune
PATIENCE = 3


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
    compute: Compute | None = None,
    checkpoint: str | Path | None = None,
    start: Mapping[str, torch.Tensor] | None = None,
    group: ProcessGroup = ALONE,
) -> PeftModel:
    """Fine-tune a pruned model with one rank per linear, and return it as a plain PEFT model.

    The given model does not change: the result is a separate model that shares its weights in memory.
    Its `save_pretrained` writes a folder that plain `PeftModel.from_pretrained` reads, with a card, and with
    the digest of the weights that the adapter belongs to. It names the folder of the pruned model as its base
    if that was saved (`save_pruned`) or loaded.

    With `held_out`, the loss on it is measured ten times, training stops after three measurements without a
    new low, and the adapter of the lowest one is returned.

    Args:
        pruned: The model to recover; moved to `compute`'s device, otherwise not changed.
        tokenizer: Its tokenizer.
        allocation: Ranks, from a search, a verdict, or `space.reference()`.
        data: Training rows, a path, or a kit name.
        held_out: Rows for early stopping, disjoint from `data`.
        recipe: Defaults to `Recipe()`.
        steps: Optimiser steps; the recipe's by default.
        seed: Seed of the adapter's initialisation and of the data order.
        compute: Device, precision and threads; chosen and logged by default.
        checkpoint: Folder to resume from and to write to.
        start: Adapter weights to begin with, by PEFT's names, in place of A at random and B at zero; for
            example `ElasticAdapter.slice(allocation)`.
        group: The processes that share the fine-tune, from `join_process_group`; all end with the same
            adapter.

    Raises:
        InputError: If data, allocation or start do not fit.
        TrainingError: If the loss is no longer finite.
    """
    recipe = recipe if recipe is not None else Recipe()
    steps = steps if steps is not None else recipe.steps
    compute = compute if compute is not None else choose_compute()
    sequences, kept_back = load_pair(
        data, held_out, tokenizer, max_length=recipe.sequence_length, model=pruned
    )
    place(pruned, compute)
    peft_model = attach_adapter(share_weights(pruned), allocation, recipe, seed=seed)
    remember_base(peft_model, pruned, base=identify_base(pruned), shared=True)
    if start is not None:
        load_start(peft_model, start)
        recipe = recipe.replace(initialisation=RANDOM)  # it has begun elsewhere
        if checkpoint is not None:  # a run with another start must not be continued here
            checkpoint = Path(checkpoint) / f"start-{digest_start(start)}"
    result = fine_tune(
        peft_model,
        sequences,
        recipe=recipe,
        steps=steps,
        seed=seed,
        compute=compute,
        held_out=kept_back or None,
        evaluate_every=max(1, steps // EVALUATIONS) if kept_back else None,
        patience=PATIENCE if kept_back else None,
        checkpoint=checkpoint,
        group=group,
    )
    logger.info(
        "recovered in %d steps, %d tokens; training loss %.4f → %.4f",
        result.steps, result.tokens, result.losses[0], result.losses[-1],
    )  # fmt: skip
    peft_model.steps_trained = result.steps
    return peft_model.eval()
