"""Dropped halves of decoder blocks: attention or MLP, with the norm before it.

A dropped half is not computed: its module returns zero for the residual sum, and its norm is an identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from rankadaptor.model.families import ATTENTION, Family, find_family, find_module, has_half

SKIP = "skip"
"""Field of `per_layer_config` that lists the dropped halves of a block; transformers' name for it."""


class DroppedAttention(nn.Module):
    """Replaces a dropped attention.

    Args:
        head_dim: Head dimension of the model, which block descriptions read.
    """

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim

    def forward(self, hidden_states: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, None]:
        """Return zero, for the residual sum, and no attention weights."""
        return hidden_states.new_zeros(()), None


class DroppedMlp(nn.Module):
    """Replaces a dropped MLP."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Return zero, for the residual sum."""
        return hidden_states.new_zeros(())


def make_dropped(half: str, *, head_dim: int) -> nn.Module:
    """Return the module that replaces a dropped half."""
    return DroppedAttention(head_dim) if half == ATTENTION else DroppedMlp()


def drop_half(block: Any, half: str, *, family: Family) -> None:
    """Drop the attention or the MLP of a block, in place, with its norm."""
    head_dim = int(find_module(block, family.attention).head_dim)
    setattr(block, family.half_path(half), make_dropped(half, head_dim=head_dim))
    setattr(block, family.norm_path(half), nn.Identity())


def drop_skipped(block: Any, entry: Any, *, family: Family) -> None:
    """Drop the halves listed under `skip` in a block's own configuration."""
    for half in getattr(entry, SKIP, None) or ():
        drop_half(block, half, family=family)


def find_cache_places(keeps: Sequence[bool], kinds: Sequence[str] | None) -> list[int | None]:
    """Return the index of each block's attention in the key-value cache; None where it was dropped.

    The first index must be used, because transformers reads the number of cached tokens from it. So the
    remaining attentions take the first free indices of their kind of attention.

    Args:
        keeps: For each block, whether it has attention.
        kinds: `config.layer_types`, or None where all are alike.
    """
    kinds = list(kinds) if kinds else [""] * len(keeps)
    places: list[int | None] = []
    for kept, kind in zip(keeps, kinds, strict=True):
        free = (place for place, other in enumerate(kinds) if other == kind and place not in places)
        places.append(next(free) if kept else None)
    return places


def list_cache_places(model: Any) -> list[tuple[Any, int]]:
    """Return the attention modules of a model, each with its index in the key-value cache."""
    family = find_family(model)
    blocks = find_module(model, family.blocks)
    keeps = [has_half(block, ATTENTION, family=family) for block in blocks]
    places = find_cache_places(keeps, getattr(model.config, "layer_types", None))
    return [
        (find_module(block, family.attention), place)
        for block, place in zip(blocks, places, strict=True)
        if place is not None
    ]


def set_cache_places(model: Any) -> None:
    """Renumber the key-value cache indices of the remaining attentions."""
    for attention, place in list_cache_places(model):
        attention.layer_idx = place
