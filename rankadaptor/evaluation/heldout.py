"""Held-out loss, by which allocations are compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from rankadaptor.training.loss import check_losses, score_sequences

if TYPE_CHECKING:
    from rankadaptor.data.sequences import TokenSequence
    from rankadaptor.runtime import Compute


@dataclass(frozen=True)
class HeldOutLoss:
    """Losses of a model on held-out sequences.

    Attributes:
        mean: Mean over all predicted tokens, nats per token; long sequences have more weight.
        per_sequence: Mean of each sequence, nats per token, in the order given; kept so that two models can
            be compared sequence by sequence.
        tokens: Number of predicted tokens.
    """

    mean: float
    per_sequence: tuple[float, ...] = field(repr=False)
    tokens: int

    @classmethod
    def of_sums(cls, sums: Sequence[float], counts: Sequence[int]) -> Self:
        """Build the losses from the sum (nats) and the number of predicted tokens of each sequence."""
        return cls(
            mean=sum(sums) / sum(counts),
            per_sequence=tuple(total / count for total, count in zip(sums, counts, strict=True)),
            tokens=sum(counts),
        )

    @property
    def perplexity(self) -> float:
        """exp(mean), infinite where that overflows."""
        try:
            return math.exp(self.mean)
        except OverflowError:
            return math.inf


def measure_loss(
    model: Any, sequences: Sequence[TokenSequence], *, compute: Compute, batch_size: int = 16
) -> HeldOutLoss:
    """Measure a model's next-token loss on `sequences`, without training.

    Args:
        model: A causal language model, with or without an adapter; moved to `compute`'s device, otherwise
            unchanged.
        sequences: Sequences to predict; only labelled tokens are scored.
        compute: Device, precision and threads.
        batch_size: Sequences per forward pass; batches hold sequences of similar length.

    Raises:
        InputError: If there is no sequence, or one of them has no labelled token.
        NonFiniteError: If a loss is NaN or infinite; the message names the tensor where it occurs first.
    """
    compute.apply()
    sums, counts = score_sequences(model, sequences, compute=compute, batch_size=batch_size)
    check_losses(model, sequences, sums)
    return HeldOutLoss.of_sums(sums, counts)
