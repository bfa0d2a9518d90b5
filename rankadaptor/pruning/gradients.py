"""Taylor importance: the expected change of the loss when a weight is set to zero."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from rankadaptor.errors import NonFiniteError
from rankadaptor.model.families import find_blocks, find_family
from rankadaptor.model.finiteness import explain_nonfinite_loss
from rankadaptor.pruning.aggregation import Array
from rankadaptor.pruning.groups import Member

TAYLOR = ("param_first", "param_second", "param_mix", "vectorwise")
CHUNK_TOKENS = 256  # tokens whose logits a forward pass holds at once


def score_taylor(
    model: Any, members: Sequence[Member], sequences: torch.Tensor, *, importance: str
) -> dict[str, Array]:
    """Score rows or columns by the Taylor expansion of the calibration loss [LLMPruner]_.

    With W a weight, g the gradient of the mean loss and H the mean squared gradient of single sequences (an
    empirical Fisher diagonal): `param_first` sums |W g|, `param_second` sums |W H W|, `param_mix` sums |W g -
    W H W / 2|, and `vectorwise` takes |sum of W g|. Biases are ignored, as in LLM-Pruner.

    Only one block's gradients are held at a time. A first pass stores the inputs of each block and the
    gradient of the loss with respect to the output of the last. Then each block, from the last to the first,
    is recomputed with its graph, and its gradients are reduced at once. Beside the weights this needs memory
    for one block's gradients and activations, the logits of `CHUNK_TOKENS` tokens, and `tokens x hidden size`
    numbers per block. It costs one more forward pass than storing all activations.

    Args:
        model: The model; its mode, gradients and `requires_grad` flags are restored.
        members: The linears to score.
        sequences: Token ids `(sequences, length)`.
        importance: One of `TAYLOR`.

    Returns:
        Module name → score per index along the member's axis.

    Raises:
        NonFiniteError: If the loss on the calibration text is not finite.
    """
    weights = {member.name: model.get_submodule(member.name).weight for member in members}
    axes = {member.name: member.axis for member in members}
    squared = importance in ("param_second", "param_mix")
    sequences = sequences.to(next(iter(weights.values())).device)
    # Gradients are squared per sequence.
    rows = 1 if squared else max(1, CHUNK_TOKENS // sequences.shape[1])
    blocks, owned = find_blocks(model), _group_by_block(model, weights)
    scores: dict[str, Array] = {}
    with _everything_frozen(model):
        traces = [_trace(model, blocks, chunk, first=min(owned)) for chunk in torch.split(sequences, rows)]
        for index in range(len(blocks) - 1, min(owned) - 1, -1):
            inside = {name: weights[name] for name in owned.get(index, ())}
            first, second = _sum_gradients(blocks[index], index, inside, traces, squared=squared)
            for name, weight in inside.items():
                salience = _estimate_change(weight, first[name], second.get(name), importance)
                total = salience.sum(1 - axes[name])
                if importance != "vectorwise":
                    total = salience.abs_().sum(1 - axes[name])
                scores[name] = total.abs().double().cpu().numpy()
    return {name: scores[name] for name in weights}


@dataclass
class _Trace:
    """Inputs of each block for one chunk of calibration text, and the gradient of the backward pass.

    Attributes:
        inputs: Block → hidden states `(rows, length, hidden)`.
        beside: Further arguments of every block, such as rotary embeddings.
        gradient: Gradient of the chunk's mean loss with respect to the output of the next block to be
            processed.
        rows: Number of sequences.
    """

    inputs: dict[int, torch.Tensor] = field(default_factory=dict)
    beside: dict[int, tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=dict)
    gradient: torch.Tensor | None = None
    rows: int = 0


def _trace(model: Any, blocks: Any, rows: torch.Tensor, *, first: int) -> _Trace:
    """Run `rows` forward through the model and backward to the output of its last block."""
    trace = _Trace(rows=len(rows))
    behind: list[torch.Tensor] = []

    def make_hook(index: int) -> Any:
        def keep(_: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            rest = dict(named)
            hidden = arguments[0] if arguments else rest.pop("hidden_states")
            trace.inputs[index], trace.beside[index] = hidden.detach(), (arguments[1:], rest)

        return keep

    def cut(_: Any, __: Any, output: Any) -> Any:
        # Every weight is frozen, so the graph starts here and contains the final norm, the head and the loss.
        hidden = output[0] if isinstance(output, tuple) else output
        behind.append(hidden.detach().requires_grad_())
        return (behind[0], *output[1:]) if isinstance(output, tuple) else behind[0]

    handles = [
        block.register_forward_pre_hook(make_hook(index), with_kwargs=True)
        for index, block in enumerate(blocks)
        if index >= first
    ]
    handles.append(blocks[-1].register_forward_hook(cut))
    try:
        loss = model(input_ids=rows, labels=rows, use_cache=False).loss
    finally:
        for handle in handles:
            handle.remove()
    if not np.isfinite(loss.item()):
        raise NonFiniteError(
            f"The loss on the calibration text is {loss.item()}, so its gradients are not usable. "
            f"{explain_nonfinite_loss(model, rows)}"
        )
    (trace.gradient,) = torch.autograd.grad(loss, behind)
    return trace


def _sum_gradients(
    block: Any, index: int, weights: Mapping[str, Any], traces: Sequence[_Trace], *, squared: bool
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Run one block's backward pass for all chunks; return mean gradients and mean squared gradients."""
    first: dict[str, torch.Tensor] = {}
    second: dict[str, torch.Tensor] = {}
    count = sum(trace.rows for trace in traces)
    for weight in weights.values():
        weight.requires_grad_(True)
    for trace in traces:
        hidden = trace.inputs.pop(index).requires_grad_()
        arguments, named = trace.beside.pop(index)
        output = block(hidden, *arguments, **named)
        output = output[0] if isinstance(output, tuple) else output
        found = torch.autograd.grad(output, [hidden, *weights.values()], trace.gradient)
        trace.gradient = found[0]
        for name, gradient in zip(weights, found[1:], strict=True):
            share = gradient.float() * (trace.rows / count)
            first[name] = first[name].add_(share) if name in first else share
            if squared:
                square = gradient.float().square_() / count
                second[name] = second[name].add_(square) if name in second else square
    for weight in weights.values():
        weight.requires_grad_(False)
    return first, second


def _estimate_change(
    weight: torch.Tensor, first: torch.Tensor, second: torch.Tensor | None, importance: str
) -> torch.Tensor:
    """Return each weight's salience; overwrites its gradient."""
    exact = weight.detach().float()
    if second is None:
        return first.mul_(exact)
    curved = second.mul_(exact).mul_(exact)
    return curved if importance == "param_second" else first.mul_(exact).sub_(curved, alpha=0.5)


def _group_by_block(model: Any, weights: Mapping[str, Any]) -> dict[int, list[str]]:
    prefix = f"{find_family(model).blocks}."
    owned: dict[int, list[str]] = {}
    for name in weights:
        owned.setdefault(int(name.removeprefix(prefix).partition(".")[0]), []).append(name)
    return owned


@contextlib.contextmanager
def _everything_frozen(model: Any) -> Iterator[None]:
    """Freeze all parameters, in eval mode and with gradients enabled; undone at the end."""
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    training = model.training
    model.eval()
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        with torch.enable_grad():
            yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
        model.train(training)
