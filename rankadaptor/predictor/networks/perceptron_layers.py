"""The performance model: five fully connected layers [RankAdaptor]_, several members side by side."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from rankadaptor.predictor.networks.encoding import encode_choices

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rankadaptor.space import Space

LAYERS = 5
HIDDEN = 32
BEND = 2.0


class Ensemble(Protocol):
    """Networks side by side: what fitting and meta-training need of a performance model."""

    members: int
    kind: str

    @property
    def settings(self) -> dict[str, int]:
        """What the class takes to build another of the same shape."""

    def head_names(self) -> list[str]:
        """Return the names of the parameters that ANIL adapts."""

    def encode(self, space: Space, choices: NDArray[np.int64]) -> Any:
        """Turn options `(n, n_slots)` into what `forward` takes."""

    def __call__(self, inputs: Any) -> Tensor:
        """Return outputs, shape `(members, n)`, 0 for uniform."""

    def load(self, weights: Mapping[str, Tensor]) -> Ensemble:
        """Return an ensemble with the first `members` members of these weights, cut off from any gradient."""

    def repeat(self, times: int) -> Ensemble:
        """Return a new ensemble with `times` copies of each member: all members, then all again."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """See `torch.nn.Module`."""

    def state_dict(self) -> dict[str, Tensor]:
        """See `torch.nn.Module`."""

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any:
        """See `torch.nn.Module`."""


class PerceptronEnsemble(nn.Module):
    """`members` independent perceptrons whose weights are stacked, so that one matrix product serves all.

    The output is anchored: what a member says of uniform (the zero rank vector) is subtracted, so that its
    gain is 0.

    Attributes:
        members: Number of perceptrons.
        width: Rank entries of the input; the input has one more, the slot count.
    """

    kind = "perceptron"

    def __init__(self, *, members: int, width: int, hidden: int = HIDDEN, seed: int = 0) -> None:
        super().__init__()
        self.members, self.width, self.hidden = members, width, hidden
        generator = torch.Generator().manual_seed(seed)
        sizes = [width + 1] + [hidden] * (LAYERS - 1) + [1]
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for inputs, outputs in itertools.pairwise(sizes):
            weight = torch.randn(members, inputs, outputs, generator=generator) * math.sqrt(1.0 / inputs)
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(torch.randn(members, 1, outputs, generator=generator) * 0.1))

    @property
    def settings(self) -> dict[str, int]:
        """What `PerceptronEnsemble` takes to build another of the same shape."""
        return {"members": self.members, "width": self.width, "hidden": self.hidden}

    def head_names(self) -> list[str]:
        """Return the names of the parameters that ANIL adapts."""
        return [f"weights.{LAYERS - 1}", f"biases.{LAYERS - 1}"]

    def encode(self, space: Space, choices: NDArray[np.int64]) -> Tensor:
        """Encode options `(n, n_slots)` as `(n, width + 1)`.

        Raises:
            InputError: If the space has more slots than `width`.
        """
        return torch.from_numpy(encode_choices(space, choices, width=self.width).astype(np.float32))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return anchored outputs, shape `(members, n)`, for inputs of shape `(n, width + 1)`."""
        uniform = torch.zeros_like(inputs[:1])
        uniform[:, -1] = inputs[:1, -1]
        hidden = torch.cat([uniform, inputs]).expand(self.members, -1, -1)
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = torch.baddbmm(bias, hidden, weight)
            if layer < LAYERS - 1:
                # Smooth, because the outer step of MAML differentiates through inner gradients.
                hidden = F.silu(hidden) * 1.6
        outputs = hidden[..., 0]
        return outputs[:, 1:] - outputs[:, :1]

    def load(self, weights: Mapping[str, Tensor]) -> PerceptronEnsemble:
        """Return an ensemble with the first `members` members of these weights, cut off from any gradient."""
        copy = PerceptronEnsemble(members=self.members, width=self.width, hidden=self.hidden)
        copy.load_state_dict({name: tensor.detach()[: self.members] for name, tensor in weights.items()})
        return copy

    def repeat(self, times: int) -> PerceptronEnsemble:
        """Return a new ensemble with `times` copies of each member: all members, then all again."""
        copy = PerceptronEnsemble(members=1, width=self.width, hidden=self.hidden)
        copy.members = self.members * times
        for name, parameter in self.named_parameters():
            kind, _, layer = name.partition(".")
            repeated = nn.Parameter(parameter.detach().repeat(times, 1, 1))
            getattr(copy, kind)[int(layer)] = repeated
        return copy


def weigh_errors(outputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Sum the members' weighted mean errors: squared where small, linear beyond two units (Huber).

    A sum, not a mean: each member's gradient is then its own, however many stand beside it. Linear, because a
    few gradient steps of fixed size must not run away from one broken record.

    Args:
        outputs: Shape `(members, n)`.
        targets: Shape `(n,)`.
        weights: Shape `(members, n)`; 0 leaves a record out of a member's fit.
    """
    errors = weights * 2.0 * F.huber_loss(outputs, targets.expand_as(outputs), reduction="none", delta=BEND)
    return (errors.sum(dim=1) / weights.sum(dim=1).clamp_min(1e-9)).sum()
