"""Token sequences as batches without padding, and the sums of scores over them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from rankadaptor.data.row import IGNORED
from rankadaptor.data.sequences import TokenSequence
from rankadaptor.errors import InputError
from rankadaptor.measure.dense_targets import TokenTargets


def make_batches(
    sequences: Sequence[TokenSequence], *, batch_tokens: int, device: str, rows: int
) -> list[TokenTargets]:
    """Cut sequences, in their order, into batches of equal length.

    Args:
        sequences: Neighbours of one length share a batch.
        batch_tokens: Most tokens of a batch, unless one sequence alone has more.
        device: Where the batches are put.
        rows: Rows of the model's embedding.

    Raises:
        InputError: If there is no sequence, no token counts in one of them, or a token has no row.
    """
    if not sequences:
        raise InputError("there are no sequences to score. Give at least one window of text.")
    for index, sequence in enumerate(sequences):
        if not sequence.targets:
            raise InputError(
                f"sequence {index} ({len(sequence)} tokens) has no token to predict. Give windows of at "
                "least two tokens with labels."
            )
        if max(sequence.input_ids) >= rows:
            raise InputError(
                f"sequence {index} holds the token id {max(sequence.input_ids)}, but the model's embedding "
                f"has {rows} rows. Tokenise the text with the model's own tokenizer."
            )
    batches = []
    for length, neighbours in itertools.groupby(sequences, key=len):
        group, size = list(neighbours), max(batch_tokens // length, 1)
        for part in (group[start : start + size] for start in range(0, len(group), size)):
            ids = torch.tensor([sequence.input_ids for sequence in part])
            labels = torch.tensor([sequence.labels for sequence in part])[:, 1:]
            counted = labels != IGNORED
            owners = counted.nonzero()[:, 0]
            batches.append(
                TokenTargets(
                    ids=ids.to(device),
                    counted=counted.to(device),
                    tokens=labels[counted].to(device),
                    owners=owners.to(device),
                )
            )
    return batches


@dataclass(frozen=True)
class BatchScore:
    """Sums over one batch, in nats.

    Attributes:
        divergences: Per sequence.
        losses: Per sequence.
        counts: Predicted tokens per sequence.
    """

    divergences: tuple[float, ...]
    losses: tuple[float, ...]
    counts: tuple[int, ...]


def sum_batch(targets: TokenTargets, divergence: torch.Tensor, losses: torch.Tensor) -> BatchScore:
    """Sum the scores of tokens by sequence."""
    count = len(targets.ids)
    zeros = torch.zeros(count, dtype=torch.float64, device=losses.device)
    sums = [zeros.index_add(0, targets.owners, each.double()).tolist() for each in (divergence, losses)]
    counts = torch.bincount(targets.owners, minlength=count).tolist()
    return BatchScore(*(tuple(each) for each in (*sums, counts)))


@dataclass(frozen=True)
class SliceSums:
    """The score of one allocation.

    Attributes:
        divergence: Mean KL to the dense model, nats per token.
        loss: Mean loss, nats per token.
        dense_loss: That of the dense model.
        sequence_losses: Mean loss of each sequence.
        tokens: Tokens that were computed for it, each with the share of a dense pass.
    """

    divergence: float
    loss: float
    dense_loss: float
    sequence_losses: tuple[float, ...]
    tokens: int

    @classmethod
    def of_batches(
        cls, scores: Sequence[BatchScore], dense: Sequence[BatchScore], *, tokens: int
    ) -> SliceSums:
        """Return the score over batches."""
        counts = [count for score in scores for count in score.counts]
        losses = [loss for score in scores for loss in score.losses]
        return cls(
            divergence=sum(value for score in scores for value in score.divergences) / sum(counts),
            loss=sum(losses) / sum(counts),
            dense_loss=sum(value for score in dense for value in score.losses) / sum(counts),
            sequence_losses=tuple(loss / count for loss, count in zip(losses, counts, strict=True)),
            tokens=tokens,
        )

    def describe_fault(self) -> str | None:
        """Say what is not finite, if anything is."""
        if math.isfinite(self.divergence) and math.isfinite(self.loss):
            return None
        bad = next((i for i, loss in enumerate(self.sequence_losses) if not math.isfinite(loss)), None)
        where = "" if bad is None else f", the loss first on sequence {bad}"
        return f"the score is not finite (kl {self.divergence}, loss {self.loss}{where})"
