"""Operations that a training step needs, and the rate at which this machine multiplies matrices."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from rankadaptor.model.families import describe_blocks, describe_linears

if TYPE_CHECKING:
    from rankadaptor.runtime import Compute
    from rankadaptor.training.packing import PackedBatch, PrefixGroup

SIZE = 1024


def count_operations(
    model: Any, batches: Sequence[PackedBatch], *, rank: int = 0, training: bool = True
) -> float:
    """Count the floating-point operations of a step on each batch, adapters of `rank` on all linears.

    Counted is what the result needs: no padding, a shared beginning once, 2 operations per weight and token
    forward and 2 more for the gradient of the activations, none for gradients of frozen weights, no input
    gradient of the first block's query, key and value, no recomputation, the head and the last block's MLP
    only where a label follows, half of the causal attention's square.

    Args:
        model: The model without its adapter.
        batches: What is trained on.
        rank: Rank of every adapter.
        training: Whether there is a backward pass; a teacher has none.
    """
    tokens = sum(len(batch.input_ids) for batch in batches)
    targets = sum(len(batch.targets) for batch in batches)
    pairs = sum(_count_pairs(group) for batch in batches for group in batch.prefix_groups)
    blocks = describe_blocks(model)
    total = 0.0
    for linear in describe_linears(model):
        seen = targets if linear.block == len(blocks) - 1 and _is_mlp(linear.kind) else tokens
        first = linear.block == 0 and linear.kind in ("q_proj", "k_proj", "v_proj")
        passes = 2 if first or not training else 4
        total += passes * linear.in_features * linear.out_features * seen
        total += (passes + 2 * training) * rank * (linear.in_features + linear.out_features) * seen
    for block in blocks:
        total += (6 if training else 2) * 2 * block.heads * block.head_dim * pairs
    head = model.get_output_embeddings()
    return float(total + (4.0 if training else 2.0) * head.in_features * head.out_features * targets)


def _count_pairs(group: PrefixGroup) -> float:
    """Count which token looks at which."""
    rests = sum(count * length * (group.prefix + (length + 1) / 2) for count, length in group.runs)
    return rests + group.prefix * (group.prefix + 1) / 2


def _is_mlp(kind: str) -> bool:
    return kind in ("gate_proj", "up_proj", "down_proj")


def measure_products(compute: Compute, *, seconds: float = 0.4) -> float:
    """Multiply square matrices for a moment; return operations a second."""
    compute.apply()
    left, right = (
        torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(seed)).to(
            compute.device, compute.torch_dtype
        )
        for seed in (0, 1)
    )
    _finish(left @ right)
    count, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        _finish(left @ right)
        count += 1
    return 2.0 * SIZE**3 * count / elapsed


def _finish(product: torch.Tensor) -> None:
    if product.device.type == "cuda":
        torch.cuda.synchronize()
