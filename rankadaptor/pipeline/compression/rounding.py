"""A model's weights as they come back from the types of its file."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch

from rankadaptor.engine.quantisers import round_trip


def round_weights(
    model: Any,
    types: Mapping[str, str],
    *,
    importance: Mapping[str, Any] | None = None,
    in_place: bool = False,
) -> Any:
    """Return a model whose matrices are as the engine reads them from its file.

    A tied embedding is rounded once, with its output head.

    Args:
        model: The model, in float32.
        types: Type of each matrix, by module name; what it does not name stays as it is.
        importance: Weights of the columns for the rounding, by module name.
        in_place: Change the given model instead of a copy.
    """
    rounded = model if in_place else copy.deepcopy(model)
    done: set[int] = set()
    for name, kind in types.items():
        weight = rounded.get_submodule(name).weight
        if weight.data_ptr() in done:
            continue
        values = weight.detach().float().cpu().numpy()
        back = round_trip(values, kind, importance=(importance or {}).get(name))
        with torch.no_grad():
            weight.copy_(torch.from_numpy(back).to(weight.dtype))
        done.add(weight.data_ptr())
    return rounded
