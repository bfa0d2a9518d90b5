"""Coupled groups: rows and columns that must be removed together so that the shapes of the block match."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from rankadaptor.errors import InputError
from rankadaptor.model.families import BlockShape, Family, describe_blocks, find_family, find_module, has_half

TARGETS = ("heads", "channels")
HEAD_UNITS = ("kv_group", "query_head")


@dataclass(frozen=True)
class Member:
    """One linear's part in the groups of a block.

    Group `g` owns the indices `[g * repeats * width, (g + 1) * repeats * width)` along `axis`.

    Attributes:
        name: Full module name of the linear.
        axis: 0 for rows (outputs, with their biases), 1 for columns (inputs).
        repeats: Sub-units in one group, such as the query heads of a KV group.
        width: Indices of one sub-unit: the head dimension, or 1 for a channel.
    """

    name: str
    axis: int
    repeats: int
    width: int


@dataclass(frozen=True)
class CoupledGroups:
    """All groups of one kind in one block.

    Attributes:
        block: Index of the block.
        target: `heads` or `channels`.
        count: Number of groups.
        parameters: Parameters of one group, biases included.
        members: The linears that hold its rows or columns; the first is the root (`q_proj`, `gate_proj`).
        partitions: Number of equal, contiguous partitions of the groups, each of which must lose the same
            number: the KV groups when single query heads are removed, else 1.
    """

    block: int
    target: str
    count: int
    parameters: int
    members: tuple[Member, ...]
    partitions: int = 1


def find_groups(
    model: Any,
    *,
    targets: Collection[str] = TARGETS,
    head_unit: str = "kv_group",
    blocks: Collection[int] | None = None,
) -> list[CoupledGroups]:
    """List the coupled groups of the given blocks, in block order, heads before channels.

    Dropped attention and MLPs have no groups.

    With grouped-query attention the unit `kv_group` is a key-value head and all its query heads; `query_head`
    is a single query head, and every KV group must lose the same number of them.

    Args:
        model: A supported causal language model.
        targets: `heads`, `channels` or both.
        head_unit: `kv_group` or `query_head`.
        blocks: Indices of the blocks; None for all.

    Raises:
        InputError: If a name is unknown or the architecture is not supported.
    """
    if isinstance(targets, str) or not targets or not set(targets) <= set(TARGETS):
        raise InputError(f"targets={targets!r}: give a list of at least one of {TARGETS}.")
    if head_unit not in HEAD_UNITS:
        raise InputError(f"head_unit={head_unit!r}: allowed are {HEAD_UNITS}.")
    family = find_family(model)
    modules = find_module(model, family.blocks)
    groups = []
    for shape in describe_blocks(model):
        if blocks is not None and shape.block not in blocks:
            continue
        names = {kind: f"{family.blocks}.{shape.block}.{path}" for kind, path in family.linears.items()}
        linears = {
            names[kind]: find_module(modules[shape.block], path)
            for kind, path in family.linears.items()
            if has_half(modules[shape.block], family.half_of(kind), family=family)
        }
        if "heads" in targets and shape.heads:
            groups.append(_couple_heads(family, shape, names, linears, head_unit))
        if "channels" in targets and shape.channels:
            members = [Member(names[kind], 0, 1, 1) for kind in family.channel_rows]
            members += [Member(names[kind], 1, 1, 1) for kind in family.channel_columns]
            size = _count_parameters(members, linears)
            groups.append(CoupledGroups(shape.block, "channels", shape.channels, size, tuple(members)))
    return groups


def _couple_heads(
    family: Family, shape: BlockShape, names: dict[str, str], linears: dict[str, Any], head_unit: str
) -> CoupledGroups:
    query, output = names[family.query], names[family.output]
    if head_unit == "query_head":
        members = [Member(query, 0, 1, shape.head_dim), Member(output, 1, 1, shape.head_dim)]
        count, partitions = shape.heads, shape.kv_heads
    else:
        per_group = shape.heads // shape.kv_heads
        members = [Member(query, 0, per_group, shape.head_dim)]
        members += [Member(names[kind], 0, 1, shape.head_dim) for kind in family.keys_values]
        members += [Member(output, 1, per_group, shape.head_dim)]
        count, partitions = shape.kv_heads, 1
    return CoupledGroups(
        shape.block, "heads", count, _count_parameters(members, linears), tuple(members), partitions
    )


def _count_parameters(members: list[Member], linears: dict[str, Any]) -> int:
    total = 0
    for member in members:
        linear = linears[member.name]
        length = linear.out_features if member.axis else linear.in_features
        has_bias = member.axis == 0 and linear.bias is not None
        total += member.repeats * member.width * (length + has_bias)
    return total
