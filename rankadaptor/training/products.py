"""Frozen linears that share an input, with their adapters: forward and backward products written out.

PEFT computes x Wᵀ + s·(x Aᵀ) Bᵀ for each linear, and autograd stores and adds the intermediate results. Here
the A of all linears that share an input form one product, sums are part of the products, and no gradient of a
frozen weight is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from rankadaptor.components.adapter.lora.rounded import differentiate_adapter

Adapter = tuple[torch.Tensor, torch.Tensor]
"""A, `(rank, in)`, and B, `(out, rank)`, of one linear."""

# W + s·BA is computed first where that needs less memory traffic than adding (x Aᵀ) Bᵀ to every token's
# output. Only in float32, since a bfloat16 weight would round the sum.
MERGE_SHARE = 1.5


@dataclass(frozen=True)
class Frozen:
    """One frozen linear.

    Attributes:
        weight: `(out, in)`.
        bias: `(out,)` or None.
        scale: LoRA scale of its adapter; None if it has none.
        contains_adapter: Whether the weight holds the adapter's update, rounded with it.
        mask: `(out, in)`, False where that update is left out; None if nowhere.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None
    scale: float | None
    contains_adapter: bool = False
    mask: torch.Tensor | None = None


def split_adapters(linears: Sequence[Frozen], tensors: Sequence[torch.Tensor]) -> list[Adapter | None]:
    """Split a flat list A, B, A, B … over the linears that have an adapter."""
    rest = iter(tensors)
    return [None if linear.scale is None else (next(rest), next(rest)) for linear in linears]


def multiply(
    inputs: torch.Tensor,
    linears: Sequence[Frozen],
    adapters: Sequence[Adapter | None],
    *,
    residual: torch.Tensor | None = None,
) -> tuple[list[torch.Tensor], torch.Tensor | None]:
    """Apply linears that share an input.

    Args:
        inputs: `(tokens, in)`.
        linears: What to apply.
        adapters: For each linear its A and B, or None.
        residual: `(tokens, out)`, added to the output of an only linear.

    Returns:
        One `(tokens, out)` per linear, and the inputs behind all A, `(tokens, sum of ranks)`, if needed.
    """
    present = [adapter for adapter in adapters if adapter is not None]
    apart = any(linear.scale is not None and not linear.contains_adapter for linear in linears)
    merged = _is_merging_cheaper(inputs, linears) if apart else False
    low = None if merged or not apart else inputs @ _stack_downs(present, inputs.dtype).t()
    outputs, start = [], 0
    for linear, adapter in zip(linears, adapters, strict=True):
        weight = linear.weight
        if adapter is not None and merged:
            weight = _merge(linear, adapter)
        base = residual if linear.bias is None else linear.bias
        output = inputs @ weight.t() if base is None else torch.addmm(base, inputs, weight.t())
        if linear.bias is not None and residual is not None:
            output.add_(residual)
        if adapter is not None and low is not None:
            down, up = adapter
            part = low[:, start : start + len(down)]
            if not linear.contains_adapter:
                output.addmm_(part, up.to(part.dtype).t(), alpha=_scale(linear))
            start += len(down)
        outputs.append(output)
    return outputs, low


def multiply_back(
    inputs: torch.Tensor,
    linears: Sequence[Frozen],
    adapters: Sequence[Adapter | None],
    low: torch.Tensor | None,
    gradients: Sequence[torch.Tensor],
    *,
    wanted: bool,
) -> tuple[torch.Tensor | None, list[torch.Tensor]]:
    """Backward pass of `multiply`.

    Args:
        inputs: As given to `multiply`.
        linears: As given to `multiply`.
        adapters: As given to `multiply`.
        low: As returned by it.
        gradients: Of each output.
        wanted: Whether the gradient of the inputs is needed.

    Returns:
        Gradient of the inputs or None, and the gradients of A, B, A, B … of the adapters there are.
    """
    present = [adapter for adapter in adapters if adapter is not None]
    merged = bool(present) and low is None
    total: torch.Tensor | None = None
    if wanted:
        for linear, adapter, gradient in zip(linears, adapters, gradients, strict=True):
            weight = _merge(linear, adapter) if merged and adapter is not None else linear.weight
            total = gradient @ weight if total is None else total.addmm_(gradient, weight)
    if not present:
        return total, []
    if any(linear.mask is not None for linear in linears):
        return total, _differentiate_masked(inputs, linears, adapters, gradients)
    downs = _stack_downs(present, inputs.dtype)
    if low is None:
        low = inputs @ downs.t()
    low_gradient = torch.empty_like(low)
    ups, parts, start = [], [], 0
    for linear, adapter, gradient in zip(linears, adapters, gradients, strict=True):
        if adapter is None:
            continue
        down, up = adapter
        part = slice(start, start + len(down))
        start += len(down)
        scale = _scale(linear)
        if not linear.contains_adapter:
            parts.append((part, down))
        torch.mm(gradient, up.to(gradient.dtype) * scale, out=low_gradient[:, part])
        # (low)ᵀ · gradient and then a small transpose: several times faster than gradientᵀ · low.
        ups.append(
            (low[:, part].t() @ gradient).t().to(up.dtype, memory_format=torch.contiguous_format) * scale
        )
    if total is not None and not merged:
        if len(parts) == len(present):
            total.addmm_(low_gradient, downs)
        else:
            for part, down in parts:
                total.addmm_(low_gradient[:, part], down.to(total.dtype))
    stacked = low_gradient.t() @ inputs
    found, start = [], 0
    for (down, _), up_gradient in zip(present, ups, strict=True):
        found += [stacked[start : start + len(down)].to(down.dtype), up_gradient]
        start += len(down)
    return total, found


def _differentiate_masked(
    inputs: torch.Tensor,
    linears: Sequence[Frozen],
    adapters: Sequence[Adapter | None],
    gradients: Sequence[torch.Tensor],
) -> list[torch.Tensor]:
    """Return the gradients of A, B, A, B … where the updates of some linears have a mask."""
    found: list[torch.Tensor] = []
    for linear, adapter, gradient in zip(linears, adapters, gradients, strict=True):
        if adapter is not None:
            found += differentiate_adapter(inputs, gradient, *adapter, scale=_scale(linear), mask=linear.mask)
    return found


def _is_merging_cheaper(inputs: torch.Tensor, linears: Sequence[Frozen]) -> bool:
    if inputs.dtype != torch.float32:
        return False
    adapted = [
        linear.weight for linear in linears if linear.scale is not None and not linear.contains_adapter
    ]
    by_token = len(inputs) * sum(weight.shape[0] + weight.shape[1] for weight in adapted)
    return by_token > MERGE_SHARE * 2 * sum(weight.numel() for weight in adapted)


def _merge(linear: Frozen, adapter: Adapter) -> torch.Tensor:
    down, up = adapter
    if linear.contains_adapter:
        return linear.weight
    return torch.addmm(linear.weight, up, down, alpha=_scale(linear))


def _stack_downs(adapters: Sequence[Adapter], dtype: torch.dtype) -> torch.Tensor:
    if len(adapters) == 1:
        return adapters[0][0].to(dtype)
    return torch.cat([down for down, _ in adapters]).to(dtype)


def _scale(linear: Frozen) -> float:
    assert linear.scale is not None, "the linear has no adapter"
    return linear.scale


def is_plain_linear(head: Any) -> bool:
    """Tell whether a head is one frozen matrix, whose gradient to the hidden states is known."""
    plain = type(head) is torch.nn.Linear
    return plain and head.bias is None and not (torch.is_grad_enabled() and head.weight.requires_grad)
