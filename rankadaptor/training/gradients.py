"""Gradients of frozen linears before training, computed one at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from rankadaptor.errors import InputError, NonFiniteError
from rankadaptor.model.finiteness import explain_nonfinite_loss
from rankadaptor.recipe import GRADIENT_GROUP_BYTES
from rankadaptor.training.examples import AT_ONCE, ExampleBatch, iterate_batches
from rankadaptor.training.loss import choose_autocast, place, sum_losses

if TYPE_CHECKING:
    from rankadaptor.data.sequences import TokenSequence
    from rankadaptor.runtime import Compute


POWER_STEPS = 2


def reduce_gradients(
    model: Any,
    weights: Mapping[str, torch.nn.Parameter],
    sequences: Sequence[TokenSequence],
    *,
    reduce: Callable[[str, torch.Tensor], object],
    compute: Compute,
    at_once: int = AT_ONCE,
    group_bytes: int = GRADIENT_GROUP_BYTES,
) -> None:
    """Pass the gradient of the mean loss with respect to each weight to `reduce`, in float32.

    Each gradient is passed on and freed as soon as its last backward pass is done. If one pass holds all
    sequences, the peak memory is one linear's gradient; otherwise the weights are split into groups that fit
    into memory, with separate passes for each group. Modes and `requires_grad` flags are restored.

    Args:
        model: A causal language model, with or without an adapter.
        weights: Weights by name; nothing else gets a gradient.
        sequences: Sequences of the loss.
        reduce: Called once for each weight, with its name and its gradient.
        compute: Device and precision.
        at_once: Sequences per pass.
        group_bytes: Bytes of gradients that may be held at once; a larger weight is a group of its own.

    Raises:
        InputError: If a weight is quantised.
        NonFiniteError: If the loss is not finite; the message names the first tensor with it.
    """
    for name, weight in weights.items():
        if not weight.is_floating_point():
            raise InputError(
                f"{name} is held in {weight.dtype}, which has no gradient. Load the model unquantised "
                "(compute.quantise: null), or use no gradients (recipe.initialisation: random)."
            )
    compute.apply()
    place(model, compute)
    batches = list(iterate_batches(sequences, compute, at_once=at_once))
    targets = sum(batch.targets for batch in batches)
    groups = [dict(weights)] if len(batches) == 1 else list(group_weights(weights, group_bytes=group_bytes))
    kept: dict[str, torch.Tensor] = {}

    def keep(name: str, gradient: torch.Tensor) -> None:
        kept[name] = kept[name] + gradient if name in kept else gradient

    def reduce_total(name: str, gradient: torch.Tensor) -> None:
        reduce(name, kept.pop(name) + gradient if name in kept else gradient)

    for group in groups:
        with _gradients_only_for(model, group.values()):
            for index, batch in enumerate(batches):
                use = reduce_total if index == len(batches) - 1 else keep
                _run_backward(model, group, batch, use, targets=targets, compute=compute)


def group_weights(
    weights: Mapping[str, torch.nn.Parameter], *, group_bytes: int
) -> Iterator[dict[str, torch.nn.Parameter]]:
    """Split weights, in order, into groups whose float32 gradients take at most so many bytes."""
    group: dict[str, torch.nn.Parameter] = {}
    held = 0
    for name, weight in weights.items():
        size = 4 * weight.numel()
        if group and held + size > group_bytes:
            yield group
            group, held = {}, 0
        group[name] = weight
        held += size
    if group:
        yield group


def sketch_range(matrix: torch.Tensor, *, width: int, seed: int) -> torch.Tensor:
    """Return orthonormal columns that approximately span a matrix's leading left singular vectors [RSVD]_.

    A random projection with two power steps, for matrices too wide to be decomposed in full.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(matrix.shape[1], width, generator=generator).to(matrix.device)
    basis: torch.Tensor = torch.linalg.qr(matrix @ drawn).Q
    for _ in range(POWER_STEPS):
        basis = torch.linalg.qr(matrix @ torch.linalg.qr(matrix.T @ basis).Q).Q
    return basis


def _run_backward(
    model: Any,
    weights: Mapping[str, Any],
    batch: ExampleBatch,
    use: Callable[[str, torch.Tensor], None],
    *,
    targets: int,
    compute: Compute,
) -> None:
    def make_hook(name: str) -> Callable[[torch.Tensor], None]:
        def hook(parameter: torch.Tensor) -> None:
            gradient, parameter.grad = parameter.grad, None
            if gradient is not None:
                use(name, gradient.float())

        return hook

    handles = [weight.register_post_accumulate_grad_hook(make_hook(name)) for name, weight in weights.items()]
    try:
        with choose_autocast(compute):
            loss = sum_losses(model, batch.tokens).sum() / targets
        if not torch.isfinite(loss):
            raise NonFiniteError(
                f"The loss on the examples is {loss.item()}, so its gradients are not usable. "
                f"{explain_nonfinite_loss(model, batch.tokens['input_ids'])}"
            )
        loss.backward()  # type: ignore[no-untyped-call]
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def _gradients_only_for(model: Any, weights: Iterable[Any]) -> Iterator[None]:
    chosen = {id(weight) for weight in weights}
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    was_training = model.training
    model.eval()
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(id(parameter) in chosen)
        with torch.enable_grad():
            yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
            if id(parameter) in chosen:
                parameter.grad = None
        model.train(was_training)
