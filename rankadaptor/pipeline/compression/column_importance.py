"""Importance weights for quantisation: the mean squared input of every column on the calibration text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rankadaptor.model.families import describe_linears

if TYPE_CHECKING:
    import torch

CHUNK_SEQUENCES = 8


def measure_column_importance(model: Any, sequences: torch.Tensor) -> Mapping[str, NDArray[np.float32]]:
    """Return the mean of x_j² over all tokens for each input column j of each linear of the blocks.

    This is what `llama-imatrix` of llama.cpp writes and `llama-quantize` weighs the errors of columns by.
    As there, the embedding and the output head have none. One forward pass; only the sums are kept.

    Args:
        model: The dense model.
        sequences: Token ids `(sequences, length)`.

    Returns:
        Module name → importance `(columns,)`.
    """
    import torch

    names = [linear.name for linear in describe_linears(model)]
    sums: dict[str, torch.Tensor] = {}

    def follow(name: str) -> Any:
        def add(_module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
            squares = inputs[0].detach().reshape(-1, inputs[0].shape[-1]).double().square().sum(0)
            sums[name] = sums[name] + squares if name in sums else squares

        return add

    handles = [model.get_submodule(name).register_forward_pre_hook(follow(name)) for name in names]
    training, device = model.training, model.get_input_embeddings().weight.device
    model.eval()
    try:
        with torch.no_grad():
            for rows in torch.split(sequences.to(device), CHUNK_SEQUENCES):
                model(input_ids=rows, use_cache=False, logits_to_keep=1)  # nobody reads the logits
    finally:
        for handle in handles:
            handle.remove()
        model.train(training)
    return {name: (total / sequences.numel()).float().cpu().numpy() for name, total in sums.items()}
