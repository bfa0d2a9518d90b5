"""Halves of decoder blocks that are left out: attention or MLP, with the norm before it.

A dropped half is not computed: its module returns zero for the residual sum and its norm passes its input on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from rankadaptor.model.families import ATTENTION, HALVES, Family, find_family, find_module, has_half

SKIP = "skip"
"""Field of `per_layer_config` that lists the dropped halves of a block; transformers' name for it."""


class DroppedAttention(nn.Module):
    """Stands where a block's attention was.

    Args:
        head_dim: Features of a head of the model, which the descriptions of its blocks name.
    """

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim

    def forward(self, hidden_states: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, None]:
        """Return zero, for the residual sum, and no attention weights."""
        return hidden_states.new_zeros(()), None


class DroppedMlp(nn.Module):
    """Stands where a block's MLP was."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Return zero, for the residual sum."""
        return hidden_states.new_zeros(())


def make_dropped(half: str, *, head_dim: int) -> nn.Module:
    """Return what stands for a dropped half."""
    return DroppedAttention(head_dim) if half == ATTENTION else DroppedMlp()


def drop_half(block: Any, half: str, *, family: Family) -> None:
    """Drop the attention or the MLP of a block, in place, with its norm."""
    head_dim = int(find_module(block, family.attention).head_dim)
    setattr(block, family.half_path(half), make_dropped(half, head_dim=head_dim))
    setattr(block, family.norm_path(half), nn.Identity())


def drop_skipped(block: Any, entry: Any, *, family: Family) -> None:
    """Drop the halves that a block's own configuration names in `skip`."""
    for half in getattr(entry, SKIP, None) or ():
        drop_half(block, half, family=family)


def list_dropped(block: Any, *, family: Family) -> list[str]:
    """Return the dropped halves of a block."""
    return [half for half in HALVES if not has_half(block, half, family=family)]


def find_cache_places(keeps: Sequence[bool], kinds: Sequence[str] | None) -> list[int | None]:
    """Return where each block's attention keeps keys and values: None where it was dropped.

    The first place must be taken, because transformers reads from it how many tokens the cache holds. So the
    attentions that are left take the first free places made for attention of their kind.

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
    """Return the attention modules of a model, each with its place in the key-value cache."""
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
    """Bring the places in the key-value cache in line with the attentions that are left."""
    for attention, place in list_cache_places(model):
        attention.layer_idx = place
