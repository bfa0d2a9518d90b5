"""A second model that shares the weights of a first: its own modules, the same tensors."""

from __future__ import annotations

import copy
from typing import Any

import torch


def share_weights(model: Any) -> Any:
    """Return a copy of a model that reads the same weights in memory.

    An adapter on one of the two does not change the other. Modules, configuration and flags are copied;
    parameters and buffers are views of the given model's. The copy's parameters are always frozen.

    Args:
        model: A causal language model, quantised or not.
    """
    shared: dict[int, Any] = {}
    for module in model.modules():
        # bitsandbytes moves int8 weights from the parameter to the module at the first forward pass. Done
        # now, both models can use the parameter.
        if hasattr(module, "init_8bit_state"):
            if getattr(module.weight, "CB", None) is not None:
                module.init_8bit_state()
            shared |= {id(value): value for value in vars(module.state).values() if torch.is_tensor(value)}
    for parameter in model.parameters():
        if type(parameter) is torch.nn.Parameter:
            shared[id(parameter)] = torch.nn.Parameter(parameter.data, requires_grad=False)
        else:  # quantised: frozen, with further state beside the tensor
            shared[id(parameter)] = parameter
    shared |= {id(buffer): buffer for buffer in model.buffers()}
    return copy.deepcopy(model, shared)
