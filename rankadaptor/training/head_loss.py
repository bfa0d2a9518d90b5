"""Losses behind the output head, piece by piece: next-token loss, and the KL divergence from a teacher.

With a vocabulary of tens of thousands the logits of a batch are larger than everything else that a fine-tune
holds. Here the logits of a few rows are computed at a time, for the teacher and the student alike, together
with the gradient to the student's hidden states, and then dropped: no logits are stored, or computed twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from rankadaptor.training.products import is_plain_linear

if TYPE_CHECKING:
    from rankadaptor.training.teacher import Lesson

PIECE = 128  # rows of logits held at once; more of them leave the cache between two passes
KL_BYTES = 150_000_000  # of all logits held at once where there is a teacher
KL_BUFFERS = 6  # float32 tensors of the size of a piece's logits, at most


def score_tokens(
    head: Any,
    hidden: torch.Tensor,
    targets: torch.Tensor,
    *,
    lesson: Lesson | None = None,
    weight: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the loss of each predicted token, `(tokens,)` in nats, differentiable.

    Args:
        head: Output head: a module that turns hidden states into logits.
        hidden: Last hidden states, `(tokens, hidden)`.
        targets: The tokens to predict, `(tokens,)`.
        lesson: What the teacher says of the same tokens; without one the loss is the next-token loss.
        weight: The head's weight in the precision of the products; None takes the head's own.
    """
    teaching = lesson is not None and lesson.share > 0
    if is_plain_linear(head):
        found: torch.Tensor = _HeadLoss.apply(  # type: ignore[no-untyped-call]
            hidden, head.weight if weight is None else weight, targets, lesson if teaching else None
        )
        return found
    if lesson is None or not teaching:
        return F.cross_entropy(head(hidden).float(), targets, reduction="none")
    rows = count_rows(max(head.weight.shape[0], lesson.vocabulary))
    parts = []
    for start in range(0, len(hidden), rows):
        piece = slice(start, start + rows)

        def score(rest: torch.Tensor, piece: slice = piece) -> torch.Tensor:
            return _score_piece(head(rest).float(), targets[piece], lesson, piece)

        given = hidden[piece]
        parts.append(
            checkpoint(score, given, use_reentrant=False) if torch.is_grad_enabled() else score(given)
        )
    return torch.cat(parts)


def count_rows(vocabulary: int) -> int:
    """Return the rows of logits that are held at once where there is a teacher."""
    return max(1, min(PIECE, KL_BYTES // (4 * KL_BUFFERS * vocabulary)))


def _score_piece(logits: torch.Tensor, targets: torch.Tensor, lesson: Lesson, piece: slice) -> torch.Tensor:
    """Score a piece by differentiable operations, for heads that are more than one frozen matrix."""
    heat = lesson.temperature
    logs = torch.log_softmax(logits / heat, dim=-1)
    divergence = F.kl_div(logs, lesson.compute_logs(piece), log_target=True, reduction="none").sum(-1)
    losses = lesson.share * heat**2 * divergence
    if lesson.share < 1:
        losses = losses + (1 - lesson.share) * F.cross_entropy(logits, targets, reduction="none")
    return losses


class _HeadLoss(torch.autograd.Function):
    """Loss behind a frozen head; its gradient to the hidden states is formed in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, lesson: Lesson | None
    ) -> torch.Tensor:
        wanted = ctx.needs_input_grad[0]
        losses = torch.zeros(len(hidden), dtype=torch.float32, device=hidden.device)
        gradient = torch.empty_like(hidden) if wanted else None
        rows = PIECE if lesson is None else count_rows(max(len(weight), lesson.vocabulary))
        for start in range(0, len(hidden), rows):
            piece = slice(start, start + rows)
            logits = F.linear(hidden[piece], weight).float()
            slope = None
            if lesson is None or lesson.share < 1:
                plain = 1.0 if lesson is None else 1 - lesson.share
                slope = _add_surprise(losses[piece], logits, targets[piece, None], share=plain)
            if lesson is not None:
                slope = _add_divergence(losses[piece], logits, lesson, piece, slope)
            del logits
            if gradient is not None and slope is not None:
                gradient[piece] = (slope.to(weight.dtype) @ weight).to(gradient.dtype)
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return losses

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream[0][:, None].to(gradient.dtype), None, None, None


def _add_surprise(
    losses: torch.Tensor, logits: torch.Tensor, wanted: torch.Tensor, *, share: float
) -> torch.Tensor:
    """Add a share of the next-token loss to `losses`; return its gradient to the logits."""
    # log_softmax goes over each row while it is in the cache; logsumexp goes over memory four times.
    logs = torch.log_softmax(logits, dim=-1)
    losses.sub_(logs.gather(1, wanted)[:, 0], alpha=share)
    slope = logs.exp_()
    if share != 1.0:
        slope.mul_(share)
    return slope.scatter_add_(1, wanted, torch.full_like(losses[:, None], -share))


def _add_divergence(
    losses: torch.Tensor, logits: torch.Tensor, lesson: Lesson, piece: slice, slope: torch.Tensor | None
) -> torch.Tensor:
    """Add the teacher's share, T² KL(p ‖ q) at temperature T [Distillation]_; return both terms' gradient.

    Its gradient is T (q − p), with p the teacher's and q the student's probabilities. `logits` and `slope`
    are overwritten.
    """
    heat = lesson.temperature
    student = torch.log_softmax(logits if heat == 1.0 else logits.div_(heat), dim=-1)
    teacher = lesson.compute_logs(piece)
    likely = teacher.exp()
    divergence = teacher.sub_(student).mul_(likely).sum(-1)
    losses.add_(divergence, alpha=lesson.share * heat**2)
    total = student.exp_().sub_(likely).mul_(lesson.share * heat)
    return total if slope is None else slope.add_(total)
