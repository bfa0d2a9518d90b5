"""Gradient spectra: the leading singular values of each linear's first gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from rankadaptor.components.adapter import read_ranks
from rankadaptor.components.adapter.lora.nested import find_widest
from rankadaptor.errors import InputError
from rankadaptor.features import ScoreTable
from rankadaptor.proxies.rank_scores import build_score_table
from rankadaptor.training.examples import EXAMPLES, count_tokens, draw_examples
from rankadaptor.training.gradients import reduce_gradients, sketch_range

if TYPE_CHECKING:
    from rankadaptor.data.sequences import TokenSequence
    from rankadaptor.runtime import Compute
    from rankadaptor.space import Space

EXACT = 512  # widths up to this are decomposed in full
SPARE = 8  # random directions beyond those needed


def measure_spectra(
    model: Any,
    space: Space,
    sequences: Sequence[TokenSequence],
    *,
    compute: Compute,
    examples: int = EXAMPLES,
    seed: int = 0,
) -> ScoreTable:
    """Score ranks by the singular values of the gradients of the linears, without an adapter.

    The score of rank r is the sum of a linear's r largest singular values. That is the first-order decrease
    of the loss for an update of rank r whose terms all have the same size, as they have approximately with
    Adam; with plain gradient descent the values would be squared. Each gradient is reduced as soon as the
    backward pass has computed it, so that with up to eight examples only one linear's gradient is in memory,
    and with more examples all of them.

    Args:
        model: The pruned model, without an adapter; its modes and `requires_grad` flags are restored.
        space: The space to score.
        sequences: Training sequences.
        compute: Device and precision.
        examples: Number of sequences used.
        seed: Seed of their choice and of the randomised decomposition of wide linears.

    Raises:
        InputError: If the model lacks a linear of the space, or the loss is not finite.
    """
    chosen = draw_examples(sequences, examples, seed=seed)
    names = list(read_ranks(space.reference()))
    modules = dict(model.named_modules())
    if missing := [name for name in names if name not in modules]:
        raise InputError(f"the model has no linear {missing[0]}. Build the space from this model.")
    weights = {name: modules[name].weight for name in names}
    largest = max(read_ranks(find_widest(space)).values())
    spectra: dict[str, Sequence[float]] = {}

    def reduce(name: str, gradient: torch.Tensor) -> None:
        spectra[name] = find_singular_values(gradient, count=largest, seed=seed).tolist()

    reduce_gradients(model, weights, chosen, reduce=reduce, compute=compute)
    return build_score_table("spectra", space, spectra, tokens=count_tokens(chosen))


def find_singular_values(matrix: torch.Tensor, *, count: int, seed: int = 0) -> torch.Tensor:
    """Return the largest singular values in descending order, at most `count`, in float32.

    Narrow matrices are decomposed in full. Wide ones by random projection with two power steps [RSVD]_,
    which is accurate for the leading values and costs a few products.
    """
    matrix = matrix.float()
    if min(matrix.shape) <= max(EXACT, count + SPARE):
        exact: torch.Tensor = torch.linalg.svdvals(matrix)[:count]
        return exact
    basis = sketch_range(matrix, width=count + SPARE, seed=seed)
    leading: torch.Tensor = torch.linalg.svdvals(basis.T @ matrix)[:count]
    return leading
