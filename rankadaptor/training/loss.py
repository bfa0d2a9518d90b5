"""Next-token loss of a causal language model, computed only where a label counts.

With a vocabulary of tens of thousands the head is a large part of a small model. Two things keep it cheap:
hidden states are picked before the head where a label follows, and the head's loss and its gradient are
computed together, piece by piece (`head_loss`). Models of the supported families are read as a `PackedModel`
besides, which computes nothing for padding.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from rankadaptor.data.row import IGNORED
from rankadaptor.data.sequences import TokenSequence, make_batch
from rankadaptor.errors import InputError, NonFiniteError
from rankadaptor.model.finiteness import explain_nonfinite_loss
from rankadaptor.model.quantisation import is_quantised, keep_unpacked
from rankadaptor.training.block_outputs import collect_outputs
from rankadaptor.training.head_loss import score_tokens
from rankadaptor.training.packed_model import PackedModel, find_obstacle, find_window, get_causal_lm
from rankadaptor.training.packing import pack_sequences
from rankadaptor.training.teacher import PLAIN_HEADS
from rankadaptor.training.virtual_tokens import compute_hidden_after, has_virtual_tokens

if TYPE_CHECKING:
    from rankadaptor.runtime import Compute
    from rankadaptor.training.teacher import Lesson, Teacher

logger = logging.getLogger(__name__)

PAD_ID = 0  # any token will do: padding stands right of every label, where a causal model cannot see it


class SequenceLosses:
    """Sums the losses of each sequence of a batch: next-token losses, or those of a recipe with a teacher.

    Without padding if the model can be read as a `PackedModel` (and the teacher too), otherwise by the
    model's own forward. Both give the same losses and gradients up to rounding.

    Args:
        model: A causal language model, with or without an adapter, on the device of `compute`.
        compute: Device and precision.
        training: Whether gradients will be wanted.
        teacher: The teacher, which holds loss, temperature and weights of the recipe; several objects may
            share it, and it reads a batch that they share once.

    Attributes:
        keep: Called with the sequences and the last hidden states of the predicting tokens of every packed
            batch, if it is not None.
    """

    def __init__(
        self, model: Any, compute: Compute, *, training: bool, teacher: Teacher | None = None
    ) -> None:
        self.model, self.compute, self.teacher = model, compute, teacher
        self.keep: Callable[[Sequence[TokenSequence], torch.Tensor], None] | None = None
        self.packed: PackedModel | None = None
        self.window: int | None = None
        obstacle = find_obstacle(model, dtype=compute.torch_dtype, training=training)
        if obstacle is None and teacher is not None and teacher.obstacle is not None:
            obstacle = f"the teacher: {teacher.obstacle}"
        if obstacle is None:
            windows = [find_window(model), None if teacher is None else teacher.window]
            self.packed = PackedModel(model, dtype=compute.torch_dtype)
            self.window = min((each for each in windows if each is not None), default=None)
        else:
            logger.debug("batches are padded and go through the model's own forward: %s", obstacle)

    def __call__(self, sequences: Sequence[TokenSequence]) -> torch.Tensor:
        """Return nats per sequence in the order given, `(len(sequences),)`, differentiable."""
        longest = max(map(len, sequences))
        if self.packed is None or (self.window is not None and longest > self.window):
            with choose_autocast(self.compute):
                return self._sum_padded(sequences)
        batch = pack_sequences(sequences, device=self.compute.device)
        lesson = None if self.teacher is None else self.teacher.read_packed(sequences, batch)
        wanted = () if self.teacher is None else self.teacher.student_blocks
        hidden, outputs = self.packed.compute_outputs(batch, wanted)
        if self.keep is not None:
            self.keep(sequences, hidden)
        head, weight = self.packed.read_head()
        losses = score_tokens(head, hidden, batch.targets, lesson=lesson, weight=weight)
        if lesson is not None and wanted:
            losses = losses + lesson.compare_outputs(outputs)
        return torch.zeros(batch.count, device=losses.device).index_add(0, batch.owners, losses)

    def _sum_padded(self, sequences: Sequence[TokenSequence]) -> torch.Tensor:
        batch = make_device_batch(sequences, self.compute)
        if self.teacher is None:
            return sum_losses(self.model, batch)
        counted = batch["labels"][:, 1:] != IGNORED
        lesson = self.teacher.read_padded(sequences, batch["input_ids"], counted)
        with collect_outputs(get_causal_lm(self.model), self.teacher.student_blocks) as outputs:
            sums = sum_losses(self.model, batch, lesson=lesson)
        if not self.teacher.student_blocks:
            return sums
        distances = lesson.compare_outputs([each[:, :-1][counted] for each in outputs()])
        return sums.index_add(0, counted.nonzero()[:, 0], distances)


def sum_losses(model: Any, batch: dict[str, torch.Tensor], *, lesson: Lesson | None = None) -> torch.Tensor:
    """Sum the losses of each sequence of a padded batch.

    No attention mask is passed: padding is on the right, and a causal model's tokens never see what follows
    them.

    Args:
        model: A causal language model, with or without an adapter.
        batch: `input_ids` and `labels`, both `(n, length)`, right-padded; labels are -100 where no loss is
            wanted.
        lesson: What a teacher says of the batch; without one the losses are next-token losses.

    Returns:
        Nats, `(n,)`, differentiable.
    """
    causal_lm = get_causal_lm(model)
    targets = batch["labels"][:, 1:]
    counted = targets != IGNORED
    rows = counted.nonzero()[:, 0]
    head = causal_lm.get_output_embeddings()
    if causal_lm.config.model_type in PLAIN_HEADS:
        if has_virtual_tokens(model):
            hidden = compute_hidden_after(model, batch["input_ids"])
        else:
            hidden = causal_lm.base_model(input_ids=batch["input_ids"], use_cache=False)[0]
        losses = score_tokens(head, hidden[:, :-1][counted], targets[counted], lesson=lesson)
    else:
        whole = model if has_virtual_tokens(model) else causal_lm
        logits = whole(input_ids=batch["input_ids"], use_cache=False).logits[:, -targets.shape[1] - 1 :]
        losses = F.cross_entropy(logits[:, :-1][counted].float(), targets[counted], reduction="none")
    return torch.zeros(len(targets), device=losses.device).index_add(0, rows, losses)


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
