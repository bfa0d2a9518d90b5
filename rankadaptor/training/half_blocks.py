"""The parts of a decoder block around its attention, each with its backward pass written out.

Tensors are `(tokens, width)` of a packed batch. Nothing here knows modules: `packed_model` reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from rankadaptor.training.products import Frozen, multiply, multiply_back, split_adapters

Turn = tuple[torch.Tensor, torch.Tensor]
"""Cosines and sines of a rotary embedding, each `(tokens, 1, head_dim / 2)`."""


@dataclass(frozen=True)
class Norm:
    """A frozen RMS norm."""

    weight: torch.Tensor
    epsilon: float


@dataclass(frozen=True)
class QueryKeyValue:
    """Norm, query, key and value linears, norms of heads where the family has them, rotary embedding."""

    norm: Norm
    linears: tuple[Frozen, Frozen, Frozen]
    head_dim: int
    head_norms: tuple[Norm, Norm] | None

    def __call__(
        self, hidden: torch.Tensor, turn: Turn, tensors: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return query, key and value, each `(tokens, heads, head_dim)`."""
        found: Any = _QueryKeyValue.apply(hidden, self, turn, *tensors)  # type: ignore[no-untyped-call]
        return found[0], found[1], found[2]


@dataclass(frozen=True)
class AttentionOutput:
    """The output linear of the attention, added to the residual."""

    linears: tuple[Frozen]

    def __call__(
        self, attended: torch.Tensor, hidden: torch.Tensor, tensors: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        """Return `(tokens, hidden)`."""
        found: torch.Tensor = _AttentionOutput.apply(attended, hidden, self, *tensors)  # type: ignore[no-untyped-call]
        return found


@dataclass(frozen=True)
class GatedMlp:
    """Norm, gated MLP, added to the residual."""

    norm: Norm
    linears: tuple[Frozen, Frozen, Frozen]

    def __call__(self, hidden: torch.Tensor, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return `(tokens, hidden)`."""
        found: torch.Tensor = _GatedMlp.apply(hidden, self, *tensors)  # type: ignore[no-untyped-call]
        return found


class _QueryKeyValue(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, part: QueryKeyValue, turn: Turn, *tensors: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        adapters = split_adapters(part.linears, tensors)
        normed, inverse = normalise(hidden, part.norm)
        outputs, low = multiply(normed, part.linears, adapters)
        query, key, value = (output.view(len(output), -1, part.head_dim) for output in outputs)
        raw: list[torch.Tensor] = []
        if part.head_norms is not None:
            raw = [query, key]
            query, query_inverse = normalise(query, part.head_norms[0])
            key, key_inverse = normalise(key, part.head_norms[1])
            raw += [query_inverse, key_inverse]
        cosines, sines = turn
        ctx.part, ctx.count = part, len(tensors)
        ctx.save_for_backward(hidden, inverse, normed, low, cosines, sines, *tensors, *raw)
        return rotate(query, cosines, sines), rotate(key, cosines, sines), value

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        part: QueryKeyValue = ctx.part
        hidden, inverse, normed, low, cosines, sines, *rest = ctx.saved_tensors
        tensors, raw = rest[: ctx.count], rest[ctx.count :]
        query, key = (rotate(gradient, cosines, -sines) for gradient in upstream[:2])
        if part.head_norms is not None:
            query = normalise_back(query, raw[0], raw[2], part.head_norms[0])
            key = normalise_back(key, raw[1], raw[3], part.head_norms[1])
        gradients = [gradient.reshape(len(gradient), -1) for gradient in (query, key, upstream[2])]
        wanted = ctx.needs_input_grad[0]
        adapters = split_adapters(part.linears, tensors)
        total, found = multiply_back(normed, part.linears, adapters, low, gradients, wanted=wanted)
        if total is not None:
            total = normalise_back(total, hidden, inverse, part.norm)
        return total, None, None, *found


class _AttentionOutput(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, attended: torch.Tensor, hidden: torch.Tensor, part: AttentionOutput, *tensors: torch.Tensor
    ) -> torch.Tensor:
        adapters = split_adapters(part.linears, tensors)
        (output,), low = multiply(attended, part.linears, adapters, residual=hidden)
        ctx.part = part
        ctx.save_for_backward(attended, low, *tensors)
        return output

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        attended, low, *tensors = ctx.saved_tensors
        linears = ctx.part.linears
        adapters = split_adapters(linears, tensors)
        wanted = ctx.needs_input_grad[0]
        total, found = multiply_back(attended, linears, adapters, low, upstream, wanted=wanted)
        return total, upstream[0], None, *found


class _GatedMlp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, part: GatedMlp, *tensors: torch.Tensor) -> torch.Tensor:
        first, last = part.linears[:2], part.linears[2:]
        adapters = split_adapters(part.linears, tensors)
        normed, inverse = normalise(hidden, part.norm)
        (gate, up), low = multiply(normed, first, adapters[:2])
        inner = F.silu(gate).mul_(up)
        (output,), low_inner = multiply(inner, last, adapters[2:], residual=hidden)
        ctx.part = part
        ctx.save_for_backward(hidden, inverse, normed, low, gate, up, inner, low_inner, *tensors)
        return output

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        part: GatedMlp = ctx.part
        first, last = part.linears[:2], part.linears[2:]
        hidden, inverse, normed, low, gate, up, inner, low_inner, *tensors = ctx.saved_tensors
        adapters = split_adapters(part.linears, tensors)
        wanted = ctx.needs_input_grad[0]
        below = wanted or any(linear.scale is not None for linear in first)
        back, found_last = multiply_back(inner, last, adapters[2:], low_inner, upstream, wanted=below)
        if back is None:
            return upstream[0] if wanted else None, None, *found_last
        up_gradient = F.silu(gate).mul_(back)
        gate_gradient = torch.ops.aten.silu_backward(back.mul_(up), gate)
        total, found = multiply_back(
            normed, first, adapters[:2], low, (gate_gradient, up_gradient), wanted=wanted
        )
        if total is not None:
            total = normalise_back(total, hidden, inverse, part.norm).add_(upstream[0])
        return total, None, *found, *found_last


def normalise(inputs: torch.Tensor, norm: Norm) -> tuple[torch.Tensor, torch.Tensor]:
    """Apply an RMS norm to the last axis; return the result and one over each root mean square (float32)."""
    exact = inputs.float()
    length = torch.linalg.vector_norm(exact, dim=-1, keepdim=True)
    inverse = length.square_().div_(inputs.shape[-1]).add_(norm.epsilon).rsqrt_()
    normed = (exact * inverse).to(inputs.dtype)
    return normed.mul_(norm.weight), inverse


def normalise_back(
    gradient: torch.Tensor, inputs: torch.Tensor, inverse: torch.Tensor, norm: Norm
) -> torch.Tensor:
    """Backward pass of `normalise`; `gradient` may be overwritten."""
    exact, back = inputs.float(), gradient.mul_(norm.weight).float()
    along = (back * exact).sum(-1, keepdim=True)
    along.mul_(inverse.pow(3)).div_(inputs.shape[-1])
    return back.mul_(inverse).addcmul_(exact, along, value=-1).to(inputs.dtype)


def rotate(heads: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    """Rotate each head, `(tokens, heads, head_dim)`, by its rotary embedding; returns a new tensor."""
    half = heads.shape[-1] // 2
    first, second = heads[..., :half], heads[..., half:]
    turned = torch.empty(heads.shape, dtype=heads.dtype, device=heads.device)
    torch.mul(first, cosines, out=turned[..., :half]).addcmul_(second, sines, value=-1)
    torch.mul(second, cosines, out=turned[..., half:]).addcmul_(first, sines)
    return turned
