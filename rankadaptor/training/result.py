"""The result of a fine-tune, and the report of each of its steps."""

from __future__ import annotations

from dataclasses import dataclass, field

from rankadaptor.training.checkpoint import CurvePoint


@dataclass(frozen=True)
class TrainingResult:
    """The result of a fine-tune.

    Attributes:
        losses: Training loss of each optimiser step, nats per token.
        curve: Held-out losses measured on the way.
        tokens: Input tokens without padding, including those read for the initialisation.
        seconds: Time spent, over all resumed parts.
        best_step: The step of the returned adapter if early stopping chose it; else None.
        stopped_early: Whether training stopped before the last step.
        teacher_tokens: Tokens that a teacher read; 0 without one.
        teacher_seconds: The part of `seconds` that went into the teacher's passes and its logits.
    """

    losses: tuple[float, ...] = field(repr=False)
    curve: tuple[CurvePoint, ...] = field(repr=False)
    tokens: int
    seconds: float
    best_step: int | None = None
    stopped_early: bool = False
    teacher_tokens: int = 0
    teacher_seconds: float = 0.0

    @property
    def steps(self) -> int:
        """Optimiser steps done."""
        return len(self.losses)


@dataclass(frozen=True)
class StepReport:
    """The argument of `on_step` after each optimiser step; losses in nats per token."""

    step: int
    steps: int
    loss: float
    learning_rate: float
    gradient_norm: float
    held_out_loss: float | None = None
