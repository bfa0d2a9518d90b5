"""Taylor importance: what the loss is expected to change by when a weight becomes zero."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from rankadaptor.errors import InputError
from rankadaptor.pruning.aggregation import Array
from rankadaptor.pruning.groups import Member

TAYLOR = ("param_first", "param_second", "param_mix", "vectorwise")
CHUNK_TOKENS = 4096


def score_taylor(
    model: Any, members: Sequence[Member], sequences: torch.Tensor, *, importance: str
) -> dict[str, Array]:
    """Score rows or columns by the Taylor expansion of the calibration loss [LLMPruner]_.

    With W a weight, g the gradient of the mean loss and H the mean squared gradient of single sequences (an
    empirical Fisher diagonal): `param_first` sums |W g|, `param_second` sums |W H W|, `param_mix` sums |W g -
    W H W / 2|, and `vectorwise` takes |sum of W g|. Biases take no part, as in LLM-Pruner.

    Gradients exist only for the members' weights, and each is reduced and freed as soon as the backward pass
    has finished it, so the peak is one linear's gradient, not the model's. Two cases need more: `param_mix`
    keeps H for every member, and calibration beyond `CHUNK_TOKENS` tokens keeps g.

    Args:
        model: The model, in any mode; its mode, gradients and `requires_grad` flags are left as found
            (gradients of member weights are cleared).
        members: The linears to score.
        sequences: Token ids `(sequences, length)`.
        importance: One of `TAYLOR`.

    Returns:
        Module name → score per index along the member's axis.

    Raises:
        InputError: If the loss on the calibration text is not finite.
    """
    weights = {member.name: model.get_submodule(member.name).weight for member in members}
    axes = {member.name: member.axis for member in members}
    sequences = sequences.to(next(iter(weights.values())).device)
    scores: dict[str, torch.Tensor] = {}
    curvature: dict[str, torch.Tensor] = {}

    def reduce(name: str, salience: torch.Tensor) -> None:
        other = 1 - axes[name]
        total = salience.sum(other).abs() if importance == "vectorwise" else salience.abs().sum(other)
        scores[name] = scores[name] + total if name in scores else total

    def add_curvature(name: str, gradient: torch.Tensor) -> None:
        curvature[name] = curvature.get(name, 0) + gradient.square() / len(sequences)

    def score_second(name: str, gradient: torch.Tensor) -> None:
        # |W H W| is a sum of non-negative terms, one per sequence, so it can be reduced sequence by sequence.
        reduce(name, (weights[name].detach().float() * gradient).square() / len(sequences))

    def score_first(name: str, gradient: torch.Tensor) -> None:
        weight = weights[name].detach().float()
        salience = weight * gradient
        if importance == "param_mix":
            salience = salience - 0.5 * weight * curvature.pop(name) * weight
        reduce(name, salience)

    with _gradients_only_for(model, weights.values()):
        if importance == "param_second":
            for row in torch.split(sequences, 1):
                _backward(model, weights, row, score_second, scale=1.0)
        else:
            if importance == "param_mix":
                for row in torch.split(sequences, 1):
                    _backward(model, weights, row, add_curvature, scale=1.0)
            _backward_in_chunks(model, weights, sequences, score_first)
    return {name: score.double().cpu().numpy() for name, score in scores.items()}


def _backward_in_chunks(model: Any, weights: Mapping[str, Any], sequences: torch.Tensor, use: Any) -> None:
    chunks = torch.split(sequences, max(1, CHUNK_TOKENS // sequences.shape[1]))
    kept: dict[str, torch.Tensor] = {}

    def keep(name: str, gradient: torch.Tensor) -> None:
        kept[name] = kept[name] + gradient if name in kept else gradient

    def use_total(name: str, gradient: torch.Tensor) -> None:
        use(name, kept.pop(name) + gradient if name in kept else gradient)

    for index, chunk in enumerate(chunks):
        action = use_total if index == len(chunks) - 1 else keep
        _backward(model, weights, chunk, action, scale=len(chunk) / len(sequences))


def _backward(model: Any, weights: Mapping[str, Any], rows: torch.Tensor, use: Any, *, scale: float) -> None:
    def make_hook(name: str) -> Any:
        def hook(parameter: torch.Tensor) -> None:
            gradient = parameter.grad
            parameter.grad = None
            if gradient is not None:
                use(name, gradient.float())

        return hook

    handles = [weight.register_post_accumulate_grad_hook(make_hook(name)) for name, weight in weights.items()]
    try:
        loss = model(input_ids=rows, labels=rows, use_cache=False).loss
        if not np.isfinite(loss.item()):
            raise InputError(
                f"The loss on the calibration text is {loss.item()}, so no gradient can be trusted. Load the "
                "model in float32 (dtype='float32') or check its weights, then prune again."
            )
        (loss * scale).backward()
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def _gradients_only_for(model: Any, weights: Any) -> Iterator[None]:
    chosen = {id(weight) for weight in weights}
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    training = model.training
    model.eval()
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(id(parameter) in chosen)
            if id(parameter) in chosen:
                parameter.grad = None
        with torch.enable_grad():
            yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
            if id(parameter) in chosen:
                parameter.grad = None
        model.train(training)
