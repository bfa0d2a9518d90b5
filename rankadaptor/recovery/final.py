"""The full fine-tune of the chosen allocation."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankadaptor.components.adapter.lora.folder import remember_base
from rankadaptor.components.adapter.lora.rounded import round_adapted
from rankadaptor.components.adapter.tuners.attach import attach_method
from rankadaptor.data.rows import Source, load_rows
from rankadaptor.defaults import RECOVERY
from rankadaptor.errors import InputError
from rankadaptor.methods import FIXED, LORA, MethodName, Scales, find_method
from rankadaptor.model.families import describe_linears
from rankadaptor.model.identity import forget_origin, identify_base
from rankadaptor.recipe import DISTILL, PLAIN, RANDOM, Recipe
from rankadaptor.recovery.llm_pruner import find_preset
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

    from rankadaptor.data.sequences import TokenSequence
    from rankadaptor.runtime import Compute
    from rankadaptor.space import Allocation

logger = logging.getLogger(__name__)


def train_adapter(
    model: Any,
    allocation: Allocation | None,
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
    types: Mapping[str, str] | None = None,
    scales: Scales = FIXED,
    group: ProcessGroup = ALONE,
    teacher: Any = None,
) -> tuple[Any, TrainingResult]:
    """Attach what a recipe's method trains to a model and fine-tune it; used by `recover` and by runs.

    Args:
        model: A model without an adapter; changed in place.
        allocation: Ranks, for the methods that have one for each linear; None takes the recipe's reference
            rank everywhere, and is what the other methods take.
        recipe: The recipe; its `method` says what is trained, its `learning_rate` at which rate.
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
        types: Type of each matrix by module name, to train through its rounding; see `round_adapted`.
        scales: Their scales: `fixed` or `derived`.
        group: The processes that share the fine-tune.
        teacher: The model that the recipe's loss follows.

    Returns:
        The trained model, and the result of the fine-tune with its losses. The model is a PEFT model, a
        `BottleneckModel`, or `model` itself where its own weights were trained.

    Raises:
        InputError: If method, data, allocation or start do not fit.
        CheckpointError: If `checkpoint` holds another fine-tune.
        TrainingError: If the loss is no longer finite.
    """
    trained = attach_method(model, recipe, allocation=allocation, steps=steps, seed=seed)
    if start is not None:
        if not find_method(recipe.method).ranks:
            raise InputError(
                f"A start was given, which holds factors of LoRA, but the method is {recipe.method!r}. Give "
                "no start, or take method='lora'."
            )
        load_start(trained, start)
        recipe = recipe.replace(initialisation=RANDOM)  # the weights are given
    if types:
        round_adapted(trained, types, scales=scales)
    result = fine_tune(
        trained,
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
    trained.steps_trained = result.steps
    return trained, result


def recover(
    pruned: Any,
    tokenizer: Any,
    allocation: Allocation | None = None,
    *,
    data: Source,
    held_out: Source | None = None,
    method: MethodName | None = None,
    recipe: Recipe | str | None = None,
    steps: int | None = None,
    seed: int = 0,
    evaluate_every: int | None = None,
    patience: int | None = RECOVERY.patience,
    compute: Compute | None = None,
    checkpoint: str | Path | None = None,
    start: Mapping[str, torch.Tensor] | None = None,
    types: Mapping[str, str] | str | None = None,
    scales: Scales = FIXED,
    group: ProcessGroup = ALONE,
    teacher: Any = None,
) -> Any:
    """Fine-tune a pruned model, and return it as a plain PEFT model, or as a model with other weights.

    What is trained depends on the method, LoRA by default; `rankadaptor.methods` describes all. The given
    model does not change: the result is a separate model that shares its weights in memory, or, with full
    fine-tuning, has its own. With a PEFT method its `save_pretrained` writes a folder that plain
    `PeftModel.from_pretrained` reads, with a card, and with the digest of the weights that the adapter
    belongs to. It names the folder of the pruned model as its base if that was saved (`save_pruned`) or
    loaded. A model whose own weights were trained is saved by `save_pruned`.

    With `held_out`, the loss on it is measured five times and logged, as in a run. With `patience` too, the
    fine-tune stops after so many measurements without a new low, and the adapter of the lowest one is
    returned.

    Args:
        pruned: The model to recover; moved to `compute`'s device, otherwise not changed.
        tokenizer: Its tokenizer.
        allocation: Ranks, from a search, a verdict, or `space.reference()`, for the methods that have one for
            each linear; None takes the recipe's reference rank everywhere.
        data: Training rows, a path, or a kit name.
        held_out: Rows for the held-out loss during training, disjoint from `data`.
        method: One of `rankadaptor.methods.METHODS`; the recipe's by default.
        recipe: A recipe, or `llm_pruner` for LLM-Pruner's with two passes over the rows. Defaults to
            `Recipe()` at the method's middle learning rate, with the loss `distill` where a teacher is given.
            A given recipe keeps its own rate, which should have been tuned for the method.
        steps: Optimiser steps; the recipe's by default.
        seed: Seed of the adapter's initialisation and of the data order.
        evaluate_every: Steps between two measurements of the held-out loss; None takes a fifth of the steps.
        patience: Measurements without a new lowest loss before it stops; None never stops early.
        compute: Device, precision and threads; chosen and logged by default.
        checkpoint: Folder to resume from and to write to.
        start: Initial adapter weights, by PEFT's names, instead of random A and zero B; for example
            `ElasticAdapter.slice(allocation)`.
        types: The types that the model will be stored in, to train the adapter through their rounding: module
            name → a type of the engine as `write_gguf` takes it, an affine grid such as `A3G32`, or `int8`
            or `nf4`; or one of them for every linear of the blocks. The result then computes with rounded
            weights, `merge_and_unload` gives these, and a file in these types holds them exactly. Zeros of
            sparse matrices are kept where the type has a zero.
        scales: `fixed` keeps the scales that the given weights have in their types, so that weights on a
            grid stay on it; save the merged model then, since the adapter alone does not hold the scales.
            `derived` follows the weights by the rule of the file's writer, at each step.
        group: The processes that share the fine-tune, from `join_process_group`; all end with the same
            adapter.
        teacher: The model whose predictions the recipe's loss follows, as a rule the model before pruning: a
            model, what `load` returned, or a name or folder that `load` reads. It is not changed. If it is
            the given model itself, the divergence begins at zero and only holds the adapter back.

    Raises:
        InputError: If method, data, allocation or start do not fit, `patience` is given without `held_out`,
            or the teacher has another vocabulary or tokenizer, or the recipe does not read it.
        CheckpointError: If `checkpoint` holds another fine-tune.
        TrainingError: If the loss is no longer finite.
    """
    if isinstance(recipe, str):
        recipe = find_preset(recipe, rows=len(load_rows(data)))
    recipe = complete_recipe(recipe, method, loss=PLAIN if teacher is None else DISTILL)
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
    linears = [linear.name for linear in describe_linears(pruned)]
    whole = find_method(recipe.method).whole
    shared = copy.deepcopy(pruned) if whole else share_weights(pruned)
    base = identify_base(pruned)
    if (
        start is not None and checkpoint is not None
    ):  # a checkpoint with other initial weights must not be continued
        checkpoint = Path(checkpoint) / f"start-{digest_start(start)}"
    trained, result = train_adapter(
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
        types=dict.fromkeys(linears, types) if isinstance(types, str) else types,
        scales=scales,
        group=group,
        teacher=guide,
    )
    if result.teacher_tokens:
        logger.info(
            "the teacher read %d tokens in %.1f of %.1f seconds",
            result.teacher_tokens, result.teacher_seconds, result.seconds,
        )  # fmt: skip
    if whole:
        forget_origin(trained)
    remember_base(trained, pruned, base=base, shared=True)
    logger.info(
        "recovered in %d steps, %d tokens; training loss %.4f → %.4f",
        result.steps, result.tokens, result.losses[0], result.losses[-1],
    )  # fmt: skip
    return trained.eval()


def complete_recipe(recipe: Recipe | None, method: MethodName | None, *, loss: str = PLAIN) -> Recipe:
    """Return a recipe with a method: the given one, or the default at the method's middle learning rate.

    Args:
        recipe: The recipe; None takes the default, with `loss`.
        method: The method; None takes the recipe's, or LoRA.
        loss: Loss of the default recipe.
    """
    if recipe is None:
        found = find_method(method if method is not None else LORA)
        return Recipe(method=found.name, learning_rate=found.learning_rate, loss=loss)
    return recipe if method is None else recipe.replace(method=method)
