"""Unevenly pruned pico models, as the tests of files and sessions use them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from rankadaptor.model.dropped import drop_half, set_cache_places
from rankadaptor.model.families import ATTENTION, MLP, find_blocks, find_family
from rankadaptor.pruning.groups import find_groups
from rankadaptor.pruning.surgery import remove_groups, write_shapes

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
WIDE = {"intermediate_size": 96, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 16}
# GGUF has no architecture for an uneven Qwen3 with an output head of its own.
TIED = ("qwen3",)


def build_uneven(
    pico_model: Any,
    family: str,
    *,
    groups: Sequence[int] = (4, 3, 1),
    channels: Sequence[int] = (96, 57, 32),
    seed: int = 0,
    **config: Any,
) -> Any:
    """Build a pico model whose blocks keep so many KV groups (2 heads of 16 each) and MLP channels."""
    settings = WIDE | {"tie_word_embeddings": family in TIED} | config
    model = pico_model(family, len(groups), seed=seed, **settings)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias") or "norm" in name:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    kept = {"heads": groups, "channels": channels}
    units = find_groups(model)
    remove_groups(model, units, [tuple(range(kept[unit.target][unit.block], unit.count)) for unit in units])
    return model


def drop(model: Any, *, attention: Sequence[int] = (), mlp: Sequence[int] = ()) -> Any:
    """Drop attention and MLPs of some blocks."""
    family = find_family(model)
    for half, blocks in ((ATTENTION, attention), (MLP, mlp)):
        for index in blocks:
            drop_half(find_blocks(model)[index], half, family=family)
    set_cache_places(model)
    write_shapes(model)
    return model


def empty(model: Any, *, attention: Sequence[int] = (), mlp: Sequence[int] = ()) -> Any:
    """Let half blocks add nothing: their output projections become zero."""
    with torch.no_grad():
        for index, block in enumerate(find_blocks(model)):
            if index in attention:
                block.self_attn.o_proj.weight.zero_()
            if index in mlp:
                block.mlp.down_proj.weight.zero_()
    return model
