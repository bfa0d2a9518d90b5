"""Training a super-network: every optimiser step trains the slices of its plan on one batch."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rankadaptor.files import compute_digest
from rankadaptor.space import Allocation
from rankadaptor.supernet.distillation import InPlaceTeacher
from rankadaptor.supernet.plan import DROPPED, SANDWICH, Ints, draw_plan, find_widest
from rankadaptor.training import fine_tune
from rankadaptor.training.passes import Pieces, TrainedModel, go_back
from rankadaptor.training.process_group import ALONE

if TYPE_CHECKING:
    from rankadaptor.data.sequences import TokenSequence
    from rankadaptor.runtime import Compute
    from rankadaptor.supernet.network import SuperNetwork
    from rankadaptor.training.loss import SequenceLosses
    from rankadaptor.training.process_group import ProcessGroup
    from rankadaptor.training.result import StepReport, TrainingResult

logger = logging.getLogger(__name__)


def train_super_network(
    network: SuperNetwork,
    sequences: Sequence[TokenSequence],
    *,
    steps: int,
    compute: Compute,
    rule: str = SANDWICH,
    distilled: bool = True,
    balanced: bool = True,
    dropped: float = DROPPED,
    held_out: Sequence[TokenSequence] | None = None,
    evaluate_every: int | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 50,
    on_step: Callable[[StepReport], None] | None = None,
    group: ProcessGroup = ALONE,
) -> TrainingResult:
    """Train the shared adapter of a super-network in place, with its recipe and seed.

    The allocations of every step are drawn before the first step. A step sets each of its allocations once,
    for all micro batches and for activations that are computed again in the backward pass, and takes one
    optimiser step with the mean of their gradients. With one thread, a resumed run gives the same weights as
    an uninterrupted one.

    Args:
        network: The super-network; nothing is set afterwards.
        sequences: Training data.
        steps: Optimiser steps.
        compute: Device, precision and threads.
        rule: Which allocations a step trains, see `draw_plan`.
        distilled: Whether the other slices of a step learn from the predictions of its largest one, by KL
            divergence at the recipe's temperature, in place of the text; a step of one slice has none.
        balanced: Whether the loss of every slice is scaled to the size of the step's first one, so that none
            has more weight because its loss is larger [AmoebaLLM]_. The size of a KL divergence is taken as
            that of the cross-entropy it is a part of, with the first loss for the entropy: divergences
            themselves come close to zero, and weights without bound make training diverge.
        dropped: Largest share of the halves that a random slice leaves out, see `draw_plan`.
        held_out: Sequences for the held-out curve, which is that of the largest slice.
        evaluate_every: See `fine_tune`.
        checkpoint: See `fine_tune`.
        checkpoint_every: See `fine_tune`.
        on_step: Called after each step; the loss is that of the step's first slice.
        group: See `fine_tune`.

    Returns:
        Losses, tokens and seconds. `tokens` counts a batch once for every slice that it passed through.

    Raises:
        InputError: If an argument is not usable.
        CheckpointError: If `checkpoint` holds another run.
        TrainingError: If the loss or a gradient is no longer finite.
    """
    plan = draw_plan(network.space, steps, seed=network.seed, rule=rule, dropped=dropped)
    guided = distilled and len(plan[0]) > 1
    teacher = InPlaceTeacher(network, compute=compute) if guided else None
    passes = SlicePasses(network, plan, balanced=balanced, teacher=teacher)
    network.set(find_widest(network.space))  # all of the adapter is trained
    try:
        result = fine_tune(
            network.peft_model,
            sequences,
            recipe=network.recipe,
            steps=steps,
            seed=network.seed,
            compute=compute,
            held_out=held_out,
            evaluate_every=evaluate_every,
            checkpoint=checkpoint,
            checkpoint_every=checkpoint_every,
            on_step=on_step,
            passes=passes,
            group=group,
        )
    finally:
        network.set(None)
    slices = len(plan[0])
    logger.info("trained a super-network in %d steps of %d slices", result.steps, slices)
    return replace(
        result,
        tokens=result.tokens * slices,
        curve=tuple(replace(point, tokens=point.tokens * slices) for point in result.curve),
    )


@dataclass(frozen=True)
class SlicePasses:
    """The passes of each step: one over the batch for every slice of the plan.

    Attributes:
        network: The super-network.
        plan: Choices of the slices of every step, `(slices, n_slots)` each.
        balanced: Whether losses of slices are scaled to that of the first.
        teacher: What the slices after the first learn from; None if they learn from the text.
    """

    network: SuperNetwork
    plan: Sequence[Ints]
    balanced: bool
    teacher: InPlaceTeacher | None = None

    def go_back(self, step: int, pieces: Pieces, *, labels: int, run: TrainedModel) -> float:
        """Add the mean gradient of the step's slices; return the loss of the first."""
        rows = self.plan[step - 1]
        parameters = list(run.parameters.values())
        total: dict[int, torch.Tensor] = {}
        first = own = math.nan
        for number, row in enumerate(rows.tolist()):
            self.network.set(Allocation(choices=tuple(row), space=self.network.space))
            with self._taught(run.sum_losses, leads=number == 0):
                loss = go_back(run.sum_losses, pieces, labels=labels)
            (whole,) = run.group.sum_numbers(loss, device=parameters[0].device.type)
            if number == 0:
                first, own = whole, loss
            size = whole if number == 0 or self.teacher is None else first + whole
            factor = first / size if self.balanced and size else 1.0
            _add_gradients(total, parameters, factor=factor / len(rows))
        for index, parameter in enumerate(parameters):
            parameter.grad = total.get(index, torch.zeros_like(parameter))
        if self.teacher is not None:
            self.teacher.forget()
        self.network.set(find_widest(self.network.space))
        return own

    @contextlib.contextmanager
    def _taught(self, losses: SequenceLosses, *, leads: bool) -> Iterator[None]:
        """Let the first slice be remembered, and the others learn from it."""
        if self.teacher is not None and leads:
            losses.keep = self.teacher.keep
        elif self.teacher is not None:
            losses.teacher = self.teacher
        try:
            yield
        finally:
            losses.keep = losses.teacher = None

    def identify(self) -> dict[str, Any]:
        """Describe space, order of importance and plan."""
        return {
            "space": self.network.space.digest,
            "order": self.network.order_digest,
            "plan": compute_digest([rows.tolist() for rows in self.plan]),
            "balanced": self.balanced,
            "distilled": self.teacher is not None,
        }


def _add_gradients(
    total: dict[int, torch.Tensor], parameters: Sequence[torch.nn.Parameter], *, factor: float
) -> None:
    """Add the scaled gradients of one slice to a sum, and take them from the parameters."""
    for index, parameter in enumerate(parameters):
        gradient, parameter.grad = parameter.grad, None
        if gradient is None:
            continue
        gradient.mul_(factor)
        total[index] = gradient if index not in total else total[index].add_(gradient)
