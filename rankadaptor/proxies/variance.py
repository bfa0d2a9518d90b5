"""Explained variance of the inputs of each linear, as in EVA."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from rankadaptor.components.adapter import read_ranks
from rankadaptor.components.adapter.lora.nested import find_widest
from rankadaptor.errors import InputError
from rankadaptor.features import ScoreTable
from rankadaptor.proxies.rank_scores import build_score_table
from rankadaptor.training.examples import EXAMPLES, count_tokens, draw_examples, iterate_batches
from rankadaptor.training.loss import choose_autocast, place

if TYPE_CHECKING:
    from rankadaptor.data.sequences import TokenSequence
    from rankadaptor.runtime import Compute
    from rankadaptor.space import Space

LARGEST_SAMPLE = 2048  # tokens per linear


def measure_variance(
    model: Any,
    space: Space,
    sequences: Sequence[TokenSequence],
    *,
    compute: Compute,
    examples: int = EXAMPLES,
    seed: int = 0,
) -> ScoreTable:
    """Score ranks by the share of input variance that a linear's leading principal components explain.

    The score of rank r is the sum of the r largest explained-variance ratios of the linear's inputs [EVA]_.
    EVA assigns a number of ranks to the largest ratios; within a budget of parameters, ranks are assigned by
    ratio per parameter (`allocate_by_scores`), which is EVA's rule where all linears have the same cost. EVA
    computes incremental principal components until they converge; this function decomposes one sample of at
    most 2048 tokens. The score depends neither on labels nor on the damage by pruning.

    Args:
        model: The pruned model, without an adapter; it is not changed.
        space: The space to score.
        sequences: Training sequences.
        compute: Device and precision.
        examples: Number of sequences used.
        seed: Seed of the choice of sequences, and of tokens if there are too many.

    Raises:
        InputError: If the model lacks a linear of the space, or a linear's inputs do not vary.
    """
    chosen = draw_examples(sequences, examples, seed=seed)
    inputs = _collect_inputs(model, space, chosen, compute=compute, seed=seed)
    largest = max(read_ranks(find_widest(space)).values())
    ratios: dict[str, list[float]] = {}
    for owner, (names, rows) in inputs.items():
        explained = explain_variance(rows, count=largest)
        if explained is None:
            raise InputError(
                f"the inputs of {owner} do not vary over {len(rows)} tokens. Give more or longer sequences."
            )
        ratios |= dict.fromkeys(names, explained)
    return build_score_table("variance", space, ratios, tokens=count_tokens(chosen))


def explain_variance(rows: torch.Tensor, *, count: int) -> list[float] | None:
    """Return the largest explained-variance ratios of `(n, d)`, descending; None without variance."""
    centred = rows.double() - rows.double().mean(0)
    gram = centred @ centred.T if len(centred) < centred.shape[1] else centred.T @ centred
    spectrum = torch.linalg.eigvalsh(gram).flip(0).clamp_min(0)
    total = float(spectrum.sum())
    if total <= 0:
        return None
    leading: list[float] = (spectrum[:count] / total).tolist()
    return leading


def _collect_inputs(
    model: Any, space: Space, chosen: Sequence[TokenSequence], *, compute: Compute, seed: int
) -> dict[str, tuple[list[str], torch.Tensor]]:
    """Return sampled input rows `(n, d)` under one linear's name, with all linears that are fed the same."""
    modules = dict(model.named_modules())
    names = list(read_ranks(space.reference()))
    if missing := [name for name in names if name not in modules]:
        raise InputError(f"the model has no linear {missing[0]}. Build the space from this model.")
    share = min(1.0, LARGEST_SAMPLE / count_tokens(chosen))
    generator = torch.Generator().manual_seed(seed)
    taken: list[torch.Tensor] = []  # the rows wanted of the current batch
    last: list[tuple[str, torch.Tensor]] = []  # the linear fed before this one, and what it was fed
    owners: dict[str, str] = {}
    rows: dict[str, list[torch.Tensor]] = {}

    def look(name: str, given: torch.Tensor) -> None:
        same = bool(last) and last[0][1] is given
        owner = owners.setdefault(name, owners[last[0][0]] if same else name)
        if owner == name:
            rows.setdefault(name, []).append(given.detach()[taken[0]].float().cpu())
        last[:] = [(name, given)]

    handles = [
        modules[name].register_forward_pre_hook(lambda _module, given, name=name: look(name, given[0]))
        for name in names
    ]
    compute.apply()
    place(model, compute)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), choose_autocast(compute):
            for batch in iterate_batches(chosen, compute):
                kept = torch.rand(batch.real.shape, generator=generator).to(batch.real.device) < share
                taken[:] = [batch.real & kept]
                last.clear()
                model(input_ids=batch.tokens["input_ids"], use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
        model.train(was_training)
    shared: dict[str, list[str]] = {}
    for name, owner in owners.items():
        shared.setdefault(owner, []).append(name)
    return {owner: (members, torch.cat(rows[owner])) for owner, members in shared.items()}
