"""Reconstruction error of each block's output relative to the dense model, as in LoSA."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rankadaptor.errors import InputError
from rankadaptor.features import ScoreTable
from rankadaptor.model.families import find_blocks
from rankadaptor.training.examples import EXAMPLES, count_tokens, draw_examples, iterate_batches
from rankadaptor.training.loss import choose_autocast, place

if TYPE_CHECKING:
    from rankadaptor.data.sequences import TokenSequence
    from rankadaptor.runtime import Compute
    from rankadaptor.space import Space


def measure_reconstruction(
    model: Any,
    dense: Any,
    space: Space,
    sequences: Sequence[TokenSequence],
    *,
    compute: Compute,
    examples: int = EXAMPLES,
    seed: int = 0,
) -> ScoreTable:
    """Score ranks by the error of each block's output against the dense model's.

    LoSA gives block l a rank in proportion to e_l, the squared difference between the two models' outputs of
    block l over the squared dense output, per feature, averaged over features; each model uses its own
    outputs as inputs of its blocks, so that errors accumulate with depth [LoSA]_. The score of rank r in a
    slot is e_l · k · log(1 + r), where k is the cost per rank of the slot: in the allocation that maximises
    the sum within a budget, 1 + r is proportional to e_l for any cost per rank.

    Args:
        model: The pruned model.
        dense: The model before pruning, with as many blocks.
        space: The space to score.
        sequences: Training sequences.
        compute: Device and precision.
        examples: Number of sequences used.
        seed: Seed of their choice.

    Raises:
        InputError: If the two models differ in blocks or width.
    """
    chosen = draw_examples(sequences, examples, seed=seed)
    errors = measure_block_errors(model, dense, chosen, compute=compute)
    option_scores = []
    for slot in space.slots:
        ranks = np.array([option for option in slot.options if isinstance(option, int)], dtype=float)
        grown = errors[slot.block] * slot.attribute("cost_per_unit") * np.log1p(ranks)
        option_scores.append(tuple(float(score) for score in grown))
    return ScoreTable(
        kind="reconstruction",
        space=space.digest,
        options=tuple(slot.options for slot in space.slots),
        option_scores=tuple(option_scores),
        tokens=2 * count_tokens(chosen),
    )


def measure_block_errors(
    model: Any, dense: Any, sequences: Sequence[TokenSequence], *, compute: Compute
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return each block's relative output error, `(n_blocks,)`.

    Raises:
        InputError: If the two models differ in blocks or width.
    """
    found = [find_blocks(model), find_blocks(dense)]
    widths = [network.config.hidden_size for network in (model, dense)]
    if len(found[0]) != len(found[1]) or widths[0] != widths[1]:
        raise InputError(
            f"the pruned model has {len(found[0])} blocks of width {widths[0]}, the dense one "
            f"{len(found[1])} of {widths[1]}. Their outputs are compared block by block, so both must agree. "
            "Give the model that was pruned, or use measure.kind: spectra."
        )
    compute.apply()
    apart = torch.zeros(len(found[0]), widths[0], dtype=torch.float64)
    size = torch.zeros_like(apart)
    for batch in iterate_batches(sequences, compute):
        pruned_outputs = _read_outputs(model, found[0], batch.tokens["input_ids"], compute)
        dense_outputs = _read_outputs(dense, found[1], batch.tokens["input_ids"], compute)
        for index, (ours, theirs) in enumerate(zip(pruned_outputs, dense_outputs, strict=True)):
            ours, theirs = ours[batch.real].double(), theirs[batch.real].double()
            apart[index] += (ours - theirs).square().sum(0).cpu()
            size[index] += theirs.square().sum(0).cpu()
    errors: np.ndarray[tuple[int], np.dtype[np.float64]] = (
        (apart / size.clamp_min(torch.finfo(torch.float64).tiny)).mean(1).numpy()
    )
    return errors


def _read_outputs(model: Any, blocks: Any, tokens: torch.Tensor, compute: Compute) -> list[torch.Tensor]:
    outputs: list[torch.Tensor] = []
    handles = [
        block.register_forward_hook(
            lambda _module, _given, output: outputs.append(output[0] if isinstance(output, tuple) else output)
        )
        for block in blocks
    ]
    place(model, compute)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), choose_autocast(compute):
            model(input_ids=tokens, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
        model.train(was_training)
    return outputs
