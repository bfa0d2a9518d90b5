"""The paper's performance model, five fully connected layers [RankAdaptor]_, as a batched ensemble."""

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
    """A batched ensemble of networks, as fitting and meta-training use it."""

    members: int
    kind: str

    @property
    def settings(self) -> dict[str, int]:
        """Arguments of the class that give an ensemble of the same shape."""

    def head_names(self) -> list[str]:
        """Return the names of the parameters that ANIL adapts."""

    def encode(self, space: Space, choices: NDArray[np.int64]) -> Any:
        """Return the inputs of `forward` for choices `(n, n_slots)`."""

    def __call__(self, inputs: Any) -> Tensor:
        """Return outputs, shape `(members, n)`, 0 for uniform."""

    def load(self, weights: Mapping[str, Tensor]) -> Ensemble:
        """Return an ensemble with the first `members` members of these weights, detached from gradients."""

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

    The output of each member for uniform (the zero vector) is subtracted, so that the gain of uniform is 0.

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
        """Arguments that give an ensemble of the same shape."""
        return {"members": self.members, "width": self.width, "hidden": self.hidden}

    def head_names(self) -> list[str]:
        """Return the names of the parameters that ANIL adapts."""
        return [f"weights.{LAYERS - 1}", f"biases.{LAYERS - 1}"]

    def encode(self, space: Space, choices: NDArray[np.int64]) -> Tensor:
        """Encode choices `(n, n_slots)` as `(n, width + 1)`.

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
        """Return an ensemble with the first `members` members of these weights, detached from gradients."""
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
    """Return the sum over members of their weighted mean Huber error: squared up to two units, then linear.

    A sum and not a mean, so that the gradient of a member does not depend on the number of members. Linear
    for large errors, so that a few gradient steps of fixed size do not diverge because of one outlier.

    Args:
        outputs: Shape `(members, n)`.
        targets: Shape `(n,)`.
        weights: Shape `(members, n)`; 0 leaves a record out of a member's fit.
    """
    errors = weights * 2.0 * F.huber_loss(outputs, targets.expand_as(outputs), reduction="none", delta=BEND)
    return (errors.sum(dim=1) / weights.sum(dim=1).clamp_min(1e-9)).sum()
