"""KL divergence to the dense model over the whole vocabulary, at the price of one output head.

With z = W h the logits of a slice and p the dense model's distribution of the next token,

    KL(p ‖ q) = Σ p log p − Σ p z + log Σ exp z = log Σ exp z − m · h − H(p),    m = Σ p_v W_v

where W_v are the rows of the slice's output head. So neither the dense model's logits nor its probabilities
are stored: per predicted token its entropy H(p), and per output head the vector m, which has the size of a
hidden state. Both are exact. The logits of a slice exist for some rows of the head at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

SLAB = 1024
"""Rows of the output head whose logits exist at a time: with 1024 tokens they stay in the cache."""


@dataclass
class TokenTargets:
    """What one batch is to predict, and what the dense model says of it.

    Attributes:
        ids: Token ids `(n, length)`.
        counted: Which of the first `length - 1` places predict a token that counts, `(n, length - 1)`.
        tokens: The tokens predicted there, `(t,)`.
        owners: Their sequences, `(t,)`.
        hidden: The dense model's last hidden states there, `(t, hidden)`; None before `learn_dense`.
        log_norm: log Σ exp of the dense logits, `(t,)`.
        entropy: H(p) in nats, `(t,)`.
        expected: By number of the output head, m of every predicted token, `(t, hidden)` in float32.
    """

    ids: torch.Tensor
    counted: torch.Tensor
    tokens: torch.Tensor
    owners: torch.Tensor
    hidden: torch.Tensor | None = None
    log_norm: torch.Tensor | None = None
    entropy: torch.Tensor | None = None
    expected: dict[int, torch.Tensor] = field(default_factory=dict)

    def pick(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the hidden states that predict a token, `(t, hidden)`."""
        return hidden[:, :-1][self.counted]


class OutputHeads:
    """The output heads that were met, told apart by their weights, and the dense one among them.

    Args:
        dense: Weights of the dense model's output head, `(vocabulary, hidden)`; used, and not copied.
    """

    def __init__(self, dense: torch.Tensor) -> None:
        self.dense = dense
        self._prints = [_print_weights(dense)]

    def find(self, weight: torch.Tensor) -> int:
        """Return the number of an output head; the dense one has 0."""
        mine = _print_weights(weight)
        for number, other in enumerate(self._prints):
            if mine.shape == other.shape and torch.equal(mine, other):
                return number
        self._prints.append(mine)
        return len(self._prints) - 1

    def learn_dense(self, targets: TokenTargets, hidden: torch.Tensor) -> torch.Tensor:
        """Keep what the dense model says of a batch, given its last hidden states `(t, hidden)`.

        Returns:
            The dense model's losses, `(t,)`.
        """
        targets.hidden = hidden
        targets.log_norm = compute_log_norm(hidden, self.dense)
        targets.expected[0] = self._average(targets, self.dense)
        targets.entropy = targets.log_norm - _dot(targets.expected[0], hidden)
        return targets.log_norm - _dot(self.dense[targets.tokens].float(), hidden)

    def learn_head(self, targets: TokenTargets, weight: torch.Tensor, number: int) -> bool:
        """Compute m for another output head; False if it is known.

        Raises:
            RuntimeError: If the dense head's weights were changed in place meanwhile.
        """
        if number in targets.expected:
            return False
        if not torch.equal(_print_weights(self.dense), self._prints[0]):
            raise RuntimeError("the dense output head was overwritten; a slice must exchange weights instead")
        targets.expected[number] = self._average(targets, weight)
        return True

    def _average(self, targets: TokenTargets, weight: torch.Tensor) -> torch.Tensor:
        """Return Σ p_v W_v with the dense p, in float32."""
        assert targets.hidden is not None
        assert targets.log_norm is not None
        total = torch.zeros(targets.hidden.shape, dtype=torch.float32, device=weight.device)
        for start in range(0, len(self.dense), SLAB):
            logits = _compute_logits(targets.hidden, self.dense[start : start + SLAB])
            shares = logits.sub_(targets.log_norm[:, None]).exp_()
            with torch.autocast(weight.device.type, enabled=False):
                total.addmm_(shares, weight[start : start + SLAB].float())
        return total


def score_tokens(
    targets: TokenTargets, hidden: torch.Tensor, weight: torch.Tensor, number: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return KL to the dense model and loss of every predicted token, both `(t,)` in nats.

    Args:
        targets: The batch, known to the dense model and to the output head.
        hidden: The slice's last hidden states, `(t, hidden)`.
        weight: Weights of its output head.
        number: Number of the output head.
    """
    assert targets.entropy is not None
    log_norm = compute_log_norm(hidden, weight)
    divergence = (log_norm - _dot(targets.expected[number], hidden)) - targets.entropy
    losses = log_norm - _dot(weight[targets.tokens].float(), hidden)
    return divergence, losses


def compute_log_norm(hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return log Σ exp of the logits of every row of hidden states, `(t,)` in float32."""
    top = torch.full((len(hidden), 1), -torch.inf, dtype=torch.float32, device=hidden.device)
    total = torch.zeros_like(top)
    for start in range(0, len(weight), SLAB):
        logits = _compute_logits(hidden, weight[start : start + SLAB])
        higher = torch.maximum(top, logits.amax(1, keepdim=True))
        total = total * (top - higher).exp() + logits.sub_(higher).exp_().sum(1, keepdim=True)
        top = higher
    return (top + total.log())[:, 0]


def _compute_logits(hidden: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    return F.linear(hidden, rows).float()


def _dot(rows: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    return (rows * hidden.float()).sum(1)


def _print_weights(weight: torch.Tensor) -> torch.Tensor:
    """Return the product of weights with a fixed vector: other weights have another."""
    probe = torch.arange(1, weight.shape[1] + 1, dtype=torch.float64).sqrt().sin()
    with torch.autocast(weight.device.type, enabled=False):
        return weight.detach() @ probe.to(weight.dtype).to(weight.device)
