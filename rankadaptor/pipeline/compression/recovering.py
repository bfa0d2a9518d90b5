"""Recovery of an extracted model: trained on its float weights, merged, so that it is quantised only once."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankadaptor.components.adapter import RankSpace
from rankadaptor.components.adapter.tuners.merging import merge_trained
from rankadaptor.errors import InputError
from rankadaptor.methods import FIXED, Scales, explain_unmergeable, find_method
from rankadaptor.recipe import Recipe
from rankadaptor.recovery.final import train_adapter

if TYPE_CHECKING:
    from rankadaptor.data import TokenSequence
    from rankadaptor.runtime import Compute

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recovered:
    """A model whose recovery is part of its weights.

    Attributes:
        model: The merged model, in float32.
        tokens: Tokens trained on.
        seconds: Time that it took.
        losses: Training loss of each step, nats per token.
        teacher_tokens: Tokens that a teacher read.
        teacher_seconds: The part of `seconds` that it took.
    """

    model: Any = field(repr=False)
    tokens: int
    seconds: float
    losses: tuple[float, ...] = field(repr=False)
    teacher_tokens: int = 0
    teacher_seconds: float = 0.0


def make_recipe(
    *, rank: int, batch_size: int, length: int, steps: int, learning_rate: float, **changes: Any
) -> Recipe:
    """Return the recipe of a recovery with one rank everywhere.

    Args:
        rank: The rank.
        batch_size: Sequences per optimiser step, and per forward pass.
        length: Tokens per sequence.
        steps: Optimiser steps.
        learning_rate: Peak rate.
        changes: Other fields of `Recipe`.
    """
    return Recipe(
        learning_rate=learning_rate,
        reference_rank=rank,
        batch_size=batch_size,
        micro_batch_size=batch_size,
        sequence_length=length,
        steps=steps,
        **changes,
    )


def build_rank_space(model: Any, *, rank: int) -> RankSpace:
    """Return the ranks that a recovery may have, of the size of one rank everywhere."""
    return RankSpace.from_model(model, like_uniform=rank)


def recover_merged(
    model: Any,
    recipe: Recipe,
    *,
    sequences: Sequence[TokenSequence],
    steps: int,
    seed: int,
    compute: Compute,
    checkpoint: Path | None = None,
    ranks: Sequence[int] | None = None,
    types: Mapping[str, str] | None = None,
    scales: Scales = FIXED,
    teacher: Any = None,
) -> Recovered:
    """Fine-tune a model by the recipe's method and merge what was trained into its weights, in float32.

    Args:
        model: An extracted model without an adapter; it is used up.
        recipe: How to train; a method with ranks has `reference_rank` everywhere, where no others are given.
        sequences: Training data.
        steps: Optimiser steps.
        seed: Start of the adapter and order of the data.
        compute: Device, precision and threads.
        checkpoint: Folder to resume from and to write to.
        ranks: A rank for every slot of `build_rank_space`; None takes `reference_rank` everywhere.
        types: Type of each matrix by module name, to train through its rounding; None trains float weights.
        scales: Scales of these types: `fixed` or `derived`.
        teacher: The model that the recipe's loss follows.

    Raises:
        InputError: If method, teacher and recipe do not fit, the method's result is no weights, or there are
            fewer sequences than a batch holds.
        TrainingError: If the loss is no longer finite.
    """
    method = find_method(recipe.method)
    if not method.mergeable:
        raise InputError(explain_unmergeable(method))
    allocation = None
    if ranks is not None:
        allocation = build_rank_space(model, rank=recipe.reference_rank).allocation(tuple(ranks))
    compute.apply()
    trained, result = train_adapter(
        model,
        allocation,
        recipe,
        sequences=sequences,
        held_out=(),
        steps=steps,
        seed=seed,
        compute=compute,
        checkpoint=checkpoint,
        types=types,
        scales=scales,
        teacher=teacher,
    )
    return Recovered(
        merge_trained(trained, method),
        result.tokens,
        result.seconds,
        result.losses,
        result.teacher_tokens,
        result.teacher_seconds,
    )
