"""A performance model on a set of slots of any number [DeepSets]_."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from rankadaptor.features import (
    BASIS,
    count_linears,
    describe_linear_features,
    list_linear_features,
    tabulate_basis,
)

if TYPE_CHECKING:
    from rankadaptor.space import Space

HIDDEN = 24
PARTS = 4
HEAD_HIDDEN = 12
SCALES = (0.4, 0.1, 0.4, 0.4)
"""Factors on the basis functions, so that sums over many slots stay small enough for an inner step."""
SlotInputs: TypeAlias = tuple[Tensor, Tensor]


class SlotNetwork(nn.Module):
    """`members` independent networks: one small network applied to every slot, a sum over slots, and a head.

    The body maps the description of a slot (depth, types of its linears, pruned share, cost, budget) to
    weights of the basis functions of its option. Their products, summed over slots, are the input of the
    head:

        parts = Σ over slots of basis(option) · body(slot)        gain = head(parts) − head(0)

    The basis functions are 0 at uniform, and so is its gain. The number of slots and their order do not
    matter.

    Attributes:
        members: Number of networks.
        hidden: Units of the body's two hidden layers.
        parts: Number of sums that are the input of the head.
    """

    kind = "slots"

    def __init__(self, *, members: int, hidden: int = HIDDEN, parts: int = PARTS, seed: int = 0) -> None:
        super().__init__()
        self.members, self.hidden, self.parts = members, hidden, parts
        generator = torch.Generator().manual_seed(seed)
        self.body = nn.ParameterDict()
        self.head = nn.ParameterDict()
        inputs = len(list_linear_features()) + 1

        def draw(rows: int, columns: int, size: float = 1.0) -> nn.Parameter:
            scale = size / math.sqrt(rows)
            return nn.Parameter(torch.randn(members, rows, columns, generator=generator) * scale)

        sizes = (inputs, hidden, hidden, parts * len(BASIS))
        for layer, (rows, columns) in enumerate(itertools.pairwise(sizes)):
            self.body[f"weight{layer}"] = draw(rows, columns)
            self.body[f"bias{layer}"] = draw(1, columns, 0.1)
        self.head["straight"] = draw(parts, 1)
        self.head["bent_in"] = draw(parts, HEAD_HIDDEN, 0.5)
        self.head["bent_bias"] = draw(1, HEAD_HIDDEN, 0.5)
        self.head["bent_out"] = draw(HEAD_HIDDEN, 1, 0.3)

    @property
    def settings(self) -> dict[str, int]:
        """Arguments that give a network of the same shape."""
        return {"members": self.members, "hidden": self.hidden, "parts": self.parts}

    def head_names(self) -> list[str]:
        """Return the names of the parameters that ANIL adapts."""
        return [f"head.{name}" for name in self.head]

    def encode(self, space: Space, choices: NDArray[np.int64]) -> SlotInputs:
        """Return slots `(n_slots, inputs)` and basis functions `(n, n_slots, k)` of choices."""
        tables = tabulate_basis(space)
        basis_values = np.stack([table[space.tables.columns, choices] for table in tables], axis=2) * SCALES
        # A slot with many linears counts as many times.
        share = count_linears(space) / math.sqrt(float(count_linears(space).sum()))
        return (
            torch.from_numpy(_describe_slots(space)),
            torch.from_numpy((basis_values * share[None, :, None]).astype(np.float32)),
        )

    def forward(self, inputs: SlotInputs) -> Tensor:
        """Return outputs, shape `(members, n)`, 0 for uniform."""
        slots, basis_values = inputs
        hidden = slots.expand(self.members, -1, -1)
        for layer in range(3):
            hidden = torch.baddbmm(self.body[f"bias{layer}"], hidden, self.body[f"weight{layer}"])
            if layer < 2:
                hidden = F.silu(hidden) * 1.6
        weights = hidden.reshape(self.members, len(slots) * len(BASIS), self.parts)
        parts = torch.matmul(basis_values.flatten(1), weights)
        bend = torch.baddbmm(self.head["bent_bias"], parts, self.head["bent_in"])
        bent = torch.bmm(F.silu(bend) - F.silu(self.head["bent_bias"]), self.head["bent_out"])
        outputs: Tensor = (torch.bmm(parts, self.head["straight"]) + bent)[..., 0]
        return outputs

    def load(self, weights: Mapping[str, Tensor]) -> SlotNetwork:
        """Return a network with the first `members` members of these weights, detached from gradients."""
        copy = SlotNetwork(**self.settings)
        copy.load_state_dict({name: tensor.detach()[: self.members] for name, tensor in weights.items()})
        return copy

    def repeat(self, times: int) -> SlotNetwork:
        """Return a new network with `times` copies of each member: all members, then all again."""
        copy = SlotNetwork(members=self.members * times, hidden=self.hidden, parts=self.parts)
        copy.load_state_dict(
            {name: parameter.detach().repeat(times, 1, 1) for name, parameter in self.named_parameters()}
        )
        return copy


def _describe_slots(space: Space) -> NDArray[np.float32]:
    """Return the means of the linear features over each slot, and the logarithm of its number of linears."""
    linears = np.maximum(count_linears(space), 1).astype(np.float64)
    matrix = describe_linear_features(space).matrix * math.sqrt(float(linears.sum())) / linears[:, None]
    return np.concatenate([matrix, np.log(linears)[:, None]], axis=1).astype(np.float32)
