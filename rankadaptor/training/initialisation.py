"""Gradient initialisation: A along the leading directions of the first gradient, B at zero.

With zero B the adapter's output is zero, and A determines the directions of the first steps. The best A of
rank r for a first gradient step of a linear contains the r leading right singular vectors of its gradient
[LoRA-GA]_. Unlike there, B is zero here, so the base model does not change and plain PEFT reads the adapter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from peft.tuners.lora import LoraLayer

from rankadaptor.components.adapter.lora.attach import ADAPTER_NAME
from rankadaptor.recipe import GRADIENT_ROWS
from rankadaptor.training.examples import AT_ONCE, count_tokens, draw_examples
from rankadaptor.training.gradients import reduce_gradients, sketch_range

if TYPE_CHECKING:
    from rankadaptor.data.sequences import TokenSequence
    from rankadaptor.runtime import Compute

ROW_NORM = 0.5 / math.sqrt(3.0)
"""Norm of a row of A: half the expected norm of PEFT's distribution."""
EXACT = 512  # narrower gradients are decomposed in full
SKETCH = 72  # directions of a randomised decomposition; more only for ranks beyond it, so ranks stay nested


def aim_at_gradients(
    peft_model: Any,
    sequences: Sequence[TokenSequence],
    *,
    seed: int,
    compute: Compute,
    at_once: int = AT_ONCE,
) -> int:
    """Set the rows of each linear's A to the leading directions of its first gradient, in place.

    The rows of a smaller rank are the first of a larger one (up to rank 72 where widths are above 512), so
    adapters of one seed stay nested. A linear without a gradient keeps its random rows. Gradients are kept
    in groups of 2 GiB, in float32, and activations are not recomputed.

    Args:
        peft_model: A model with an untrained adapter, from `attach_adapter`.
        sequences: Training data; 64 sequences are read.
        seed: Seed of their choice.
        compute: Device and precision.
        at_once: Sequences per pass.

    Returns:
        Tokens read.

    Raises:
        InputError: If the base model is quantised, or the loss is not finite.
    """
    layers = {
        name: module
        for name, module in peft_model.get_base_model().named_modules()
        if isinstance(module, LoraLayer) and ADAPTER_NAME in module.lora_A
    }
    chosen = draw_examples(sequences, GRADIENT_ROWS, seed=seed)

    def aim(name: str, gradient: torch.Tensor) -> None:
        down: Any = layers[name].lora_A[ADAPTER_NAME]
        rows = getattr(down, "whole", down.weight)  # of an elastic adapter, all rows
        directions = find_directions(gradient, count=rows.shape[0], seed=seed)
        if directions is not None:
            with torch.no_grad():
                rows[: len(directions)] = (ROW_NORM * directions).to(rows)

    weights: dict[str, Any] = {name: layer.get_base_layer().weight for name, layer in layers.items()}
    reduce_gradients(peft_model, weights, chosen, reduce=aim, compute=compute, at_once=at_once)
    return count_tokens(chosen)


def find_directions(matrix: torch.Tensor, *, count: int, seed: int = 0) -> torch.Tensor | None:
    """Return the leading right singular vectors of a matrix as rows, at most `count`; None if it is zero.

    Narrow matrices are decomposed in full, wide ones by random projection with two power steps [RSVD]_.
    """
    if not bool(matrix.abs().max() > 0):
        return None
    matrix = matrix / matrix.abs().max()
    width = max(SKETCH, count)
    if min(matrix.shape) <= max(EXACT, width):
        exact: torch.Tensor = torch.linalg.svd(matrix, full_matrices=False).Vh[:count]
        return exact
    basis = sketch_range(matrix, width=width, seed=seed)
    leading: torch.Tensor = torch.linalg.svd(basis.T @ matrix, full_matrices=False).Vh[:count]
    return leading
