"""Remove the selected rows and columns in place, so that an ordinary transformers model remains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError

from rankadaptor.model.blocks import allow_global_reads
from rankadaptor.model.dropped import SKIP
from rankadaptor.model.families import (
    ATTENTION,
    MLP,
    BlockShape,
    Family,
    describe_blocks,
    find_family,
    find_module,
)
from rankadaptor.pruning.groups import CoupledGroups


def remove_groups(model: Any, groups: Sequence[CoupledGroups], removed: Sequence[Sequence[int]]) -> None:
    """Remove groups from the model's linears and update modules and configuration.

    Args:
        model: The model; changed in place. `requires_grad` flags are kept, gradients are not.
        groups: Coupled groups of the model.
        removed: For each entry of `groups`, the indices of the groups to remove.
    """
    for entry, indices in zip(groups, removed, strict=True):
        if not indices:
            continue
        gone = set(indices)
        for member in entry.members:
            step = member.repeats * member.width
            kept = [i for g in range(entry.count) if g not in gone for i in range(g * step, (g + 1) * step)]
            _keep(model.get_submodule(member.name), kept, axis=member.axis)
    family = find_family(model)
    blocks = find_module(model, family.blocks)
    for shape in describe_blocks(model):
        if shape.heads:
            find_module(blocks[shape.block], family.attention).num_key_value_groups = (
                shape.heads // shape.kv_heads
            )
    write_shapes(model)


def _keep(linear: Any, kept: list[int], *, axis: int) -> None:
    weight = linear.weight
    index = torch.tensor(kept, device=weight.device)
    linear.weight = torch.nn.Parameter(
        weight.detach().index_select(axis, index).contiguous(), requires_grad=weight.requires_grad
    )
    if axis == 1:
        linear.in_features = len(kept)
        return
    linear.out_features = len(kept)
    if linear.bias is not None:
        bias = linear.bias
        linear.bias = torch.nn.Parameter(
            bias.detach().index_select(0, index), requires_grad=bias.requires_grad
        )


def write_shapes(model: Any) -> None:
    """Write the block widths into `model.config`.

    Equal widths go into the ordinary fields with an explicit `head_dim`, so that plain transformers loads
    them; widths that differ, or head counts that the configuration class refuses, go into `per_layer_config`.
    There the entry of a block without attention or MLP lists it in `skip` and has no width for it.
    """
    family, config = find_family(model), model.config
    shapes = describe_blocks(model)
    fields = [_name_widths(shape, family) for shape in shapes]
    config.per_layer_config = None
    config.head_dim = shapes[0].head_dim
    whole = SKIP not in fields[0]
    if whole and all(entry == fields[0] for entry in fields) and _set_uniform(config, fields[0]):
        config.__dict__.pop("allow_global_per_layer_attribute_access", None)
        return
    # Set the flag first: transformers validates the global fields as soon as one of them is overridden.
    config.allow_global_per_layer_attribute_access = True
    allow_global_reads()
    config.per_layer_config = {shape.block: entry for shape, entry in zip(shapes, fields, strict=True)}


def _name_widths(shape: BlockShape, family: Family) -> dict[str, Any]:
    widths: dict[str, Any] = {}
    if shape.heads:
        widths |= {family.heads_key: shape.heads, family.kv_heads_key: shape.kv_heads}
    if shape.channels:
        widths |= {family.channels_key: shape.channels}
    dropped = [half for half, width in ((ATTENTION, shape.heads), (MLP, shape.channels)) if not width]
    return widths | ({SKIP: dropped} if dropped else {})


def _set_uniform(config: Any, fields: Mapping[str, int]) -> bool:
    before = {name: getattr(config, name) for name in fields}
    try:
        for name, value in fields.items():
            setattr(config, name, value)
        config.validate()
    except StrictDataclassError:  # Llama refuses head counts that do not divide the hidden size
        for name, value in before.items():
            setattr(config, name, value)
        return False
    return True
