"""The result of a method as weights of the model."""

from __future__ import annotations

from typing import Any

from rankadaptor.errors import InputError
from rankadaptor.methods import Method, explain_unmergeable


def merge_trained(model: Any, method: Method) -> Any:
    """Return a model without adapter that has what was trained in its weights, in float32, all frozen.

    The merge is done in float32, whatever the model computes in: products of bfloat16 weights would lose
    most of a small update.

    Args:
        model: What `attach_method` returned, after training; it is used up.
        method: Its method.

    Raises:
        InputError: If the method's result cannot become part of the weights.
    """
    if not method.mergeable:
        raise InputError(explain_unmergeable(method))
    merged = model.float() if method.whole else model.float().merge_and_unload()
    for parameter in merged.parameters():
        parameter.requires_grad_(False)
    return merged.eval()
