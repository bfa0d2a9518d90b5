"""One trial: a short fine-tune of an allocation and its held-out loss; the model is unchanged afterwards."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rankadaptor.components.adapter.lora.attach import adapt_temporarily
from rankadaptor.errors import NonFiniteError, TrainingError
from rankadaptor.training.loop import HELD_OUT_BATCH, fine_tune
from rankadaptor.training.loss import check_losses, score_sequences

if TYPE_CHECKING:
    from rankadaptor.data.sequences import TokenSequence
    from rankadaptor.recipe import Recipe
    from rankadaptor.runtime import Compute
    from rankadaptor.space import Allocation

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trial:
    """The outcome of a trial.

    Attributes:
        sums: Nats of each held-out sequence, in the order given; empty if the fine-tune diverged.
        counts: Predicted tokens of each of them.
        tokens: Tokens trained.
        seconds: Duration.
        error: Why there are no losses; None if there are.
    """

    sums: tuple[float, ...]
    counts: tuple[int, ...]
    tokens: int
    seconds: float
    error: str | None = None

    @property
    def loss(self) -> float | None:
        """Held-out loss in nats per token; None if the fine-tune diverged."""
        return sum(self.sums) / sum(self.counts) if self.error is None else None


def train_trial(
    model: Any,
    allocation: Allocation,
    recipe: Recipe,
    *,
    sequences: Sequence[TokenSequence],
    held_out: Sequence[TokenSequence],
    steps: int,
    seed: int,
    compute: Compute,
    teacher: Any = None,
) -> Trial:
    """Train an allocation's adapter for a few steps, measure the held-out loss, and remove the adapter.

    Args:
        model: The pruned model; unchanged afterwards, also after a failure.
        allocation: The allocation to train.
        recipe: The recipe.
        sequences: Training data.
        held_out: Sequences for the held-out loss.
        steps: Optimiser steps.
        seed: Initialisation of the adapter and order of the data.
        compute: Device, precision and threads.
        teacher: The model that the recipe's loss follows.

    Returns:
        The outcome; a fine-tune that diverged is one with an error.

    Raises:
        InputError: If the allocation does not fit the model, or the data are too few.
    """
    started = time.monotonic()
    sums: Sequence[float] = ()
    counts: Sequence[int] = ()
    tokens, error = 0, None
    try:
        with adapt_temporarily(model, allocation, recipe, seed=seed) as peft_model:
            trained = fine_tune(
                peft_model,
                sequences,
                recipe=recipe,
                steps=steps,
                seed=seed,
                compute=compute,
                teacher=teacher,
            )
            tokens = trained.tokens
            scored, targets = score_sequences(
                peft_model, held_out, compute=compute, batch_size=HELD_OUT_BATCH
            )
            check_losses(peft_model, held_out, scored)
            sums, counts = scored, targets
    except TrainingError as failure:
        error, tokens = str(failure), failure.tokens or tokens
    except NonFiniteError as failure:
        error = str(failure)
    if error is not None:
        logger.warning("an allocation could not be measured: %s", error)
    return Trial(tuple(sums), tuple(counts), tokens, time.monotonic() - started, error)
