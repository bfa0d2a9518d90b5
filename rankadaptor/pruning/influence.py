"""Block Influence: how much a block changes the hidden states that pass through it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from rankadaptor.errors import NonFiniteError
from rankadaptor.model.families import find_blocks
from rankadaptor.model.finiteness import explain_nonfinite_loss
from rankadaptor.pruning.activations import CHUNK_SEQUENCES
from rankadaptor.pruning.aggregation import Array


def measure_influence(model: Any, sequences: torch.Tensor) -> Array:
    """Measure the Block Influence of every block [ShortGPT]_; forward passes only.

    BI = 1 − mean over tokens of cos(x, y), with x the hidden state that enters the block and y the one that
    leaves it: close to 0 if the block hardly changes the direction of its input.

    Args:
        model: A supported causal language model; its train or eval mode is restored.
        sequences: Token ids `(sequences, length)`.

    Returns:
        Influences `(blocks,)`, each in [0, 2].

    Raises:
        NonFiniteError: If a hidden state is NaN or infinite; the message names where it occurs first.
    """
    blocks = find_blocks(model)
    turned = np.zeros(len(blocks))

    def observe(index: int, inputs: tuple[Any, ...], output: Any) -> None:
        entering = inputs[0].double()
        leaving = (output[0] if isinstance(output, tuple) else output).double()
        turned[index] += float((1 - torch.cosine_similarity(entering, leaving, dim=-1)).sum())

    handles = [
        block.register_forward_hook(
            lambda _module, inputs, output, index=index: observe(index, inputs, output)
        )
        for index, block in enumerate(blocks)
    ]
    training = model.training
    model.eval()
    try:
        device = model.get_output_embeddings().weight.device
        with torch.no_grad():
            for rows in torch.split(sequences.to(device), CHUNK_SEQUENCES):
                model(input_ids=rows, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
        model.train(training)
    if not np.isfinite(turned).all():
        block = int(np.flatnonzero(~np.isfinite(turned))[0])
        raise NonFiniteError(
            f"The hidden states of the calibration text are not finite at block {block}. "
            f"{explain_nonfinite_loss(model, sequences[:1])}"
        )
    # Rounding can make the influence of an identity block slightly negative.
    return np.maximum(turned / sequences.numel(), 0.0)
