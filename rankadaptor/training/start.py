"""Given initial weights of an adapter, instead of random A and zero B."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from rankadaptor.components.adapter.lora.attach import ADAPTER_NAME, list_adapter_parameters
from rankadaptor.errors import InputError

if TYPE_CHECKING:
    from peft import PeftModel


def load_start(peft_model: PeftModel, start: Mapping[str, torch.Tensor]) -> None:
    """Copy weights into an adapter.

    Args:
        peft_model: A model with an adapter, from `attach_adapter`.
        start: Tensors by PEFT's names, as in `adapter_model.safetensors`: one for each of the adapter's.

    Raises:
        InputError: If a tensor is missing, unknown or of another shape.
    """
    parameters = {
        name.replace(f".{ADAPTER_NAME}.", "."): value
        for name, value in list_adapter_parameters(peft_model).items()
    }
    faults = [f"{name} is missing" for name in parameters.keys() - start.keys()]
    faults += [f"{name} is not part of this adapter" for name in start.keys() - parameters.keys()]
    faults += [
        f"{name} has shape {tuple(start[name].shape)}, needed is {tuple(value.shape)}"
        for name, value in parameters.items()
        if name in start and start[name].shape != value.shape
    ]
    if faults:
        raise InputError(
            f"The start does not fit the allocation ({len(faults)} differences, first: {min(faults)}). "
            "Create it for this allocation, for example with ElasticAdapter.slice(allocation)."
        )
    with torch.no_grad():
        for name, value in parameters.items():
            value.copy_(start[name])


def digest_start(start: Mapping[str, torch.Tensor]) -> str:
    """Return the digest of initial weights."""
    digest = hashlib.sha256()
    for name in sorted(start):
        digest.update(name.encode())
        digest.update(start[name].detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
