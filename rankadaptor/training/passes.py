"""The forward and backward passes of one optimiser step."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch

from rankadaptor.files import compute_digest

if TYPE_CHECKING:
    from rankadaptor.data.sequences import TokenSequence
    from rankadaptor.training.loss import SequenceLosses
    from rankadaptor.training.process_group import ProcessGroup

Pieces = Sequence[Sequence["TokenSequence"]]
"""The micro batches of one process."""


class TrainedModel(Protocol):
    """What passes need to know of a fine-tune."""

    @property
    def sum_losses(self) -> SequenceLosses:
        """What computes losses of the model as it is set now."""

    @property
    def parameters(self) -> Mapping[str, torch.nn.Parameter]:
        """What is trained, by name."""

    @property
    def group(self) -> ProcessGroup:
        """The processes that share the step."""


class StepPasses(Protocol):
    """The passes of each step of a fine-tune, in place of one pass over the batch."""

    def go_back(self, step: int, pieces: Pieces, *, labels: int, run: TrainedModel) -> float:
        """Add the gradients of one step to the parameters and return its loss.

        Args:
            step: The step, counted from 1.
            pieces: This process's micro batches.
            labels: Labelled tokens of the whole batch, which losses and gradients are divided by.
            run: The fine-tune.

        Returns:
            This process's part of the loss, nats per token.
        """

    def identify(self) -> dict[str, Any]:
        """Describe what a checkpoint must agree with to be continued."""


def go_back(
    sum_losses: Callable[[Sequence[TokenSequence]], torch.Tensor], pieces: Pieces, *, labels: int
) -> float:
    """Pass micro batches through the model and back once; return their loss divided by `labels`."""
    total = 0.0
    for piece in pieces:
        loss = sum_losses(piece).sum() / labels
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    return total


@contextlib.contextmanager
def seed_dropout(seed: int, step: int, index: int, *, wanted: bool) -> Iterator[None]:
    """Seed torch's global generators for one step of one process: a resumed run draws the same masks."""
    if not wanted:
        yield
        return
    with torch.random.fork_rng():
        name = [seed, step, index] if index else [seed, step]
        torch.manual_seed(int(compute_digest(name, length=15), 16))
        yield
