"""Choose the precision to save weights in: that of the source if it rounds nothing."""

from __future__ import annotations

import logging
from typing import Any

import torch

from rankadaptor.errors import InputError

logger = logging.getLogger(__name__)

SAVED = ("float32", "bfloat16", "float16")
_NOTE = "rankadaptor_source_precision"


def note_precision(model: Any, precision: str | None) -> None:
    """Remember the precision of a model's weights in the folder it was loaded from."""
    setattr(model, _NOTE, precision)


def choose_precision(model: Any, given: str | torch.dtype | None) -> torch.dtype | None:
    """Choose the precision to save a model in.

    If all weights convert exactly to the precision of the source, as after loading and pruning, that is
    chosen. Weights that were trained or merged in a wider precision keep the wider one.

    Args:
        model: The model.
        given: One of `SAVED` or its torch type; None to choose.

    Returns:
        What to convert to, or None to save the weights as they are.

    Raises:
        InputError: If the name is unknown.
    """
    now = str(model.dtype).removeprefix("torch.")
    if given is not None:
        name = str(given).removeprefix("torch.")
        if name not in SAVED:
            raise InputError(f"dtype={given!r}: allowed are {', '.join(SAVED)}, or None for the source's.")
        return None if name == now and _is_uniform(model) else _get_type(name)
    source = getattr(model, _NOTE, None)
    if source is None or source == now:
        return None
    if _get_type(source).itemsize > model.dtype.itemsize:
        logger.info("the weights are saved in %s, as they were loaded; their source has %s", now, source)
        return None
    if all(_comes_back(tensor, _get_type(source)) for tensor in model.state_dict().values()):
        logger.info("the weights are saved in %s, as in their source; nothing is rounded", source)
        return _get_type(source)
    logger.info(
        "the weights are saved in %s: some would be rounded in %s, the precision of their source. "
        "To round them, use save_pruned(..., dtype=%r)",
        now, source, source,
    )  # fmt: skip
    return None


def convert_weights(model: Any, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Return a model's weights in another precision; the model keeps its own.

    Raises:
        InputError: If a number is beyond the range of the precision.
    """
    made: dict[tuple[int, torch.Size], torch.Tensor] = {}  # tied weights stay one tensor
    converted = {}
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point():
            converted[name] = tensor
            continue
        place = (tensor.data_ptr(), tensor.shape)
        if place not in made:
            made[place] = tensor.detach().to(dtype)
            if not torch.isfinite(made[place]).all() and torch.isfinite(tensor).all():
                raise InputError(
                    f"{name}: its largest number, {float(tensor.abs().max()):.3g}, is beyond the range of "
                    f"{str(dtype).removeprefix('torch.')}. Save in bfloat16 or float32."
                )
        converted[name] = made[place]
    return converted


def _comes_back(tensor: torch.Tensor, dtype: torch.dtype) -> bool:
    if not tensor.is_floating_point():
        return True
    return torch.equal(tensor.to(dtype).to(tensor.dtype), tensor)


def _is_uniform(model: Any) -> bool:
    return len({tensor.dtype for tensor in model.state_dict().values() if tensor.is_floating_point()}) == 1


def _get_type(name: str) -> torch.dtype:
    found: torch.dtype = getattr(torch, name)
    return found
