"""Next-token loss of a causal language model, computed only where a label counts.

With a vocabulary of tens of thousands the head is a large part of a small model. Two things keep it cheap:
hidden states are picked before the head where a label follows, and the head's loss and its gradient are
computed together, piece by piece, so that logits are neither stored nor computed twice. Models of the
supported families are read as a `PackedModel` besides, which computes nothing for padding.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from rankadaptor.data.row import IGNORED
from rankadaptor.data.sequences import TokenSequence, make_batch
from rankadaptor.errors import InputError, NonFiniteError
from rankadaptor.model.finiteness import explain_nonfinite_loss
from rankadaptor.model.quantisation import is_quantised, keep_unpacked
from rankadaptor.training.packed_model import PackedModel, find_obstacle, find_window, get_causal_lm
from rankadaptor.training.packing import pack_sequences

if TYPE_CHECKING:
    from rankadaptor.runtime import Compute

logger = logging.getLogger(__name__)

PAD_ID = 0  # any token will do: padding stands right of every label, where a causal model cannot see it
PIECE = 128  # rows of logits held at once; more of them leave the cache between two passes
# Model types whose logits are lm_head(hidden) and nothing else; others have soft caps or logit scales.
# They take the plain path.
PLAIN_HEADS = frozenset({"llama", "mistral", "qwen2", "qwen3", "phi3", "gemma", "olmo2", "smollm3"})


class SequenceLosses:
    """Sums the next-token losses of each sequence of a batch.

    Without padding if the model can be read as a `PackedModel`, otherwise by the model's own forward. Both
    give the same losses and gradients up to rounding.

    Args:
        model: A causal language model, with or without an adapter, on the device of `compute`.
        compute: Device and precision.
        training: Whether gradients will be wanted.
    """

    def __init__(self, model: Any, compute: Compute, *, training: bool) -> None:
        self.model, self.compute = model, compute
        self.packed: PackedModel | None = None
        self.window: int | None = None
        obstacle = find_obstacle(model, dtype=compute.torch_dtype, training=training)
        if obstacle is None:
            self.packed, self.window = PackedModel(model), find_window(model)
        else:
            logger.debug("batches are padded and go through the model's own forward: %s", obstacle)

    def __call__(self, sequences: Sequence[TokenSequence]) -> torch.Tensor:
        """Return nats per sequence in the order given, `(len(sequences),)`, differentiable."""
        longest = max(map(len, sequences))
        if self.packed is None or (self.window is not None and longest > self.window):
            with choose_autocast(self.compute):
                return sum_losses(self.model, make_device_batch(sequences, self.compute))
        batch = pack_sequences(sequences, device=self.compute.device)
        hidden = self.packed.compute_hidden(batch)
        head = self.packed.causal_lm.get_output_embeddings()
        if _is_plain_linear(head):
            losses = _HeadLoss.apply(hidden, head.weight, batch.targets)  # type: ignore[no-untyped-call]
        else:
            losses = F.cross_entropy(head(hidden).float(), batch.targets, reduction="none")
        return torch.zeros(batch.count, device=losses.device).index_add(0, batch.owners, losses)


def sum_losses(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Sum the next-token losses of each sequence of a batch.

    No attention mask is passed: padding is on the right, and a causal model's tokens never see what follows
    them.

    Args:
        model: A causal language model, with or without an adapter.
        batch: `input_ids` and `labels`, both `(n, length)`, right-padded; labels are -100 where no loss is
            wanted.

    Returns:
        Nats, `(n,)`, differentiable.
    """
    causal_lm = get_causal_lm(model)
    targets = batch["labels"][:, 1:]
    counted = targets != IGNORED
    rows = counted.nonzero()[:, 0]
    head = causal_lm.get_output_embeddings()
    if causal_lm.config.model_type in PLAIN_HEADS and _is_plain_linear(head):
        hidden = causal_lm.base_model(input_ids=batch["input_ids"], use_cache=False)[0]
        picked = hidden[:, :-1][counted]
        losses = _HeadLoss.apply(picked, head.weight, targets[counted])  # type: ignore[no-untyped-call]
    else:
        logits = causal_lm(input_ids=batch["input_ids"], use_cache=False).logits
        losses = F.cross_entropy(logits[:, :-1][counted].float(), targets[counted], reduction="none")
    return torch.zeros(len(targets), device=losses.device).index_add(0, rows, losses)


def _is_plain_linear(head: Any) -> bool:
    plain = type(head) is torch.nn.Linear
    return plain and head.bias is None and not (torch.is_grad_enabled() and head.weight.requires_grad)


class _HeadLoss(torch.autograd.Function):
    """Cross-entropy behind a frozen head; its gradient to the hidden states is formed in the forward pass."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        wanted = ctx.needs_input_grad[0]
        losses = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        gradient = torch.empty_like(hidden) if wanted else None
        for start in range(0, len(hidden), PIECE):
            piece = slice(start, start + PIECE)
            # log_softmax goes over each row while it is in the cache; logsumexp goes over memory four times.
            logs = torch.log_softmax(F.linear(hidden[piece], weight).float(), dim=-1)
            wanted_tokens = targets[piece, None]
            losses[piece] = -logs.gather(1, wanted_tokens)[:, 0]
            if gradient is not None:
                surprise = logs.exp_()
                surprise.scatter_add_(1, wanted_tokens, -torch.ones_like(losses[piece, None]))
                gradient[piece] = (surprise.to(weight.dtype) @ weight).to(gradient.dtype)
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return losses

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream[0][:, None].to(gradient.dtype), None, None


def make_device_batch(sequences: Sequence[TokenSequence], compute: Compute) -> dict[str, torch.Tensor]:
    """Pad sequences to the longest of them and put them on the device."""
    batch = make_batch(sequences, pad_id=PAD_ID)
    return {key: batch[key].to(compute.device) for key in ("input_ids", "labels")}


def choose_autocast(compute: Compute) -> AbstractContextManager[Any]:
    """Return the context in which products run in `compute`'s precision, whatever the weights' own is."""
    return torch.autocast(compute.device, dtype=torch.bfloat16, enabled=compute.dtype == "bfloat16")


def score_sequences(
    model: Any, sequences: Sequence[TokenSequence], *, compute: Compute, batch_size: int
) -> tuple[list[float], list[int]]:
    """Measure each sequence's summed loss without training.

    Sequences of like length share a batch, which saves padding; the result has the order given.

    Returns:
        Nats per sequence and predicted tokens per sequence.

    Raises:
        InputError: If there is no sequence, or one has no label.
    """
    counts = [sequence.targets for sequence in sequences]
    if not counts:
        raise InputError("There are no held-out sequences. Give at least one row.")
    if 0 in counts:
        raise InputError(
            f"Held-out sequence {counts.index(0)} has no token to predict. "
            "Drop rows with an empty response, or raise sequence_length so that their prompts fit."
        )
    place(model, compute)
    was_training = model.training
    model.eval()
    measure = SequenceLosses(model, compute, training=False)
    sums = [0.0] * len(sequences)
    try:
        with torch.no_grad():
            for indices in _group_by_length(sequences, batch_size):
                found = measure([sequences[index] for index in indices])
                for index, value in zip(indices, found.tolist(), strict=True):
                    sums[index] = value
    finally:
        model.train(was_training)
    return sums, counts


def check_losses(model: Any, sequences: Sequence[TokenSequence], sums: Sequence[float]) -> None:
    """Check that the losses of sequences are finite.

    Raises:
        NonFiniteError: If one is not; the message names the tensor where it shows first.
    """
    bad = next((index for index, value in enumerate(sums) if not math.isfinite(value)), None)
    if bad is not None:
        tokens = make_batch([sequences[bad]], pad_id=PAD_ID)["input_ids"]
        raise NonFiniteError(
            f"The held-out loss is {sums[bad]} on sequence {bad}. {explain_nonfinite_loss(model, tokens)}"
        )


def place(model: Any, compute: Compute) -> None:
    """Move a model to the device of `compute` if it is elsewhere; see `keep_unpacked` for a 4-bit one.

    Raises:
        InputError: If bitsandbytes has packed 4-bit weights that were loaded elsewhere.
    """
    if is_quantised(model):
        keep_unpacked(model)
    if next(model.parameters()).device.type != compute.device:
        model.to(compute.device)


def _group_by_length(sequences: Sequence[TokenSequence], batch_size: int) -> Iterator[list[int]]:
    order = sorted(range(len(sequences)), key=lambda index: (-len(sequences[index]), index))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
