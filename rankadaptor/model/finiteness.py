"""Locate a NaN or an infinity: the tensor that holds it, or the first module that outputs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rankadaptor.errors import NonFiniteError

SHOWN = 3
REMEDY = (
    "Load the model from an earlier checkpoint, or copy or download it again. If it was converted to "
    "float16, convert it to bfloat16 or float32 instead, which have a larger range."
)


def describe_nonfinite_weights(model: Any, *, frozen: bool = False) -> str | None:
    """Name the tensors of a model that hold a NaN or an infinity, adapters included; None if none does.

    Args:
        model: Any model.
        frozen: Only check frozen weights.
    """
    found = []
    for name, tensor in model.state_dict(keep_vars=True).items():
        if frozen and tensor.requires_grad:
            continue
        if not tensor.is_floating_point() or bool(torch.isfinite(tensor).all()):
            continue
        nans, total = int(tensor.isnan().sum()), int((~torch.isfinite(tensor)).sum())
        kinds = [f"{nans} NaN"] * bool(nans) + [f"{total - nans} infinite"] * bool(total - nans)
        found.append(f"{name} ({' and '.join(kinds)} of {tensor.numel()} numbers)")
    if not found:
        return None
    more = f" and {len(found) - SHOWN} more tensors" if len(found) > SHOWN else ""
    return ", ".join(found[:SHOWN]) + more


def refuse_nonfinite_weights(model: Any, *, verb: str) -> None:
    """Refuse to work with a model whose weights are not all finite.

    Raises:
        NonFiniteError: If one is not; the message names its tensor.
    """
    if (found := describe_nonfinite_weights(model)) is not None:
        raise NonFiniteError(
            f"The model cannot be {verb}, because not all of its weights are finite: {found}. {REMEDY}"
        )


def explain_nonfinite_loss(model: Any, tokens: torch.Tensor | None = None) -> str:
    """Say where a NaN or an infinity in a model's loss comes from.

    Args:
        model: The model, with or without an adapter; not changed.
        tokens: Token ids `(n, length)` that caused it. If the weights are finite, the model is run on them
            once more to find the first module whose output is not.

    Returns:
        A sentence.
    """
    if (found := describe_nonfinite_weights(model)) is not None:
        return f"Not all weights are finite: {found}. {REMEDY}"
    module = None if tokens is None else _find_module(model, tokens)
    if module is not None:
        return (
            f"The weights are finite; the output of {module} is the first that is not. Numbers overflow "
            "there: compute in float32 (compute.dtype: float32)."
        )
    return "The weights are finite, so numbers overflow: compute in float32 (compute.dtype: float32)."


def refuse_nonfinite_scores(
    scores: Mapping[str, NDArray[np.float64]], *, importance: str, model: Any, tokens: torch.Tensor | None
) -> None:
    """Refuse importance scores that are not all finite.

    Args:
        scores: Module name → scores.
        importance: Name of the importance.
        model: The model, whose weights are finite.
        tokens: Token ids of the calibration text, if it was used.

    Raises:
        NonFiniteError: If one is not; the message names the module.
    """
    for name, values in scores.items():
        bad = int((~np.isfinite(values)).sum())
        if bad:
            raise NonFiniteError(
                f"importance={importance!r}: {bad} of {values.size} scores of {name} are not finite. "
                f"{explain_nonfinite_loss(model, tokens)}"
            )


def _find_module(model: Any, tokens: torch.Tensor) -> str | None:
    found: list[str] = []

    def make_hook(name: str) -> Any:
        def look(_: Any, __: Any, output: Any) -> None:
            first = output[0] if isinstance(output, tuple) and output else output
            plain = isinstance(first, torch.Tensor) and first.is_floating_point()
            if plain and not found and not bool(torch.isfinite(first).all()):
                found.append(name)

        return look

    named = [(name, module) for name, module in model.named_modules() if name]
    handles = [module.register_forward_hook(make_hook(name)) for name, module in named]
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            device = next(model.parameters()).device
            model(input_ids=tokens.to(device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
        model.train(training)
    return found[0] if found else None
