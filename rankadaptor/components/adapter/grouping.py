"""Grouping of linears that share a rank: by block, by half of a block, or singly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from rankadaptor.errors import BudgetError, InputError

GRANULARITIES = ("block", "half_block", "linear")


class LinearLike(Protocol):
    """The description of a linear, for example a `rankadaptor.model.families.Linear`."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def block(self) -> int: ...  # noqa: D102
    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def in_features(self) -> int: ...  # noqa: D102
    @property
    def out_features(self) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class Group:
    """Linears of one block that share a rank.

    Attributes:
        name: The slot's name.
        block: Index of the block.
        kind: `block`, `attention`, `mlp`, or the linear's own kind.
        modules: Full names of the linears.
        width: Largest rank that every linear allows: the smallest of their in- and out-features.
        parameters_per_rank: Sum of their in- and out-features.
        mean_in_features: Mean of their in-features.
        mean_out_features: Mean of their out-features.
    """

    name: str
    block: int
    kind: str
    modules: tuple[str, ...]
    width: int
    parameters_per_rank: int
    mean_in_features: float
    mean_out_features: float


def group_linears(linears: Sequence[LinearLike], *, slots: str) -> list[Group]:
    """Group linears into slots, in order of blocks and, inside a block, of first appearance.

    Raises:
        InputError: If `slots` is unknown or there are no linears.
    """
    if slots not in GRANULARITIES:
        raise InputError(f"slots={slots!r}: allowed are {', '.join(GRANULARITIES)}.")
    if not linears:
        raise InputError("no linears to adapt. Check the model's family and the range of blocks.")
    members: dict[tuple[int, str], list[LinearLike]] = {}
    for linear in sorted(linears, key=lambda linear: linear.block):
        kind = {"block": "block", "half_block": find_half(linear.name), "linear": linear.kind}[slots]
        members.setdefault((linear.block, kind), []).append(linear)
    groups = []
    for (block, kind), parts in members.items():
        sides = [(part.in_features, part.out_features) for part in parts]
        groups.append(
            Group(
                name=f"block{block}" if kind == "block" else f"block{block}.{kind}",
                block=block,
                kind=kind,
                modules=tuple(part.name for part in parts),
                width=min(min(side) for side in sides),
                parameters_per_rank=sum(sum(side) for side in sides),
                mean_in_features=sum(side[0] for side in sides) / len(sides),
                mean_out_features=sum(side[1] for side in sides) / len(sides),
            )
        )
    return groups


def find_half(module: str) -> str:
    """Return `attention` or `mlp` for the full name of a module.

    >>> find_half("model.layers.3.self_attn.q_proj"), find_half("model.layers.3.mlp.up_proj")
    ('attention', 'mlp')
    """
    return "attention" if "attn" in module or "attention" in module else "mlp"


def check_blocks(blocks: tuple[int, int] | None, n_blocks: int) -> tuple[int, int]:
    """Return first and last block that carry adapters.

    Raises:
        InputError: If the range is not inside the model.
    """
    if n_blocks < 1:
        raise InputError("no linears to adapt. Check the model's family and the range of blocks.")
    if blocks is None:
        return 0, n_blocks - 1
    if len(blocks) != 2 or not 0 <= blocks[0] <= blocks[1] < n_blocks:
        raise InputError(
            f"blocks={tuple(blocks)}: this model has blocks 0 to {n_blocks - 1}. Give the first and the last "
            "block, both inclusive."
        )
    return blocks[0], blocks[1]


def check_pins(
    pinned: Mapping[int, int] | None, groups: Sequence[Group], *, blocks: tuple[int, int]
) -> dict[int, int]:
    """Return the pinned rank of each pinned block.

    Raises:
        InputError: If a block is outside the range, or nothing is left to search.
        BudgetError: If a rank is negative or above the width of a linear.
    """
    pins = dict(pinned or {})
    for block, rank in pins.items():
        if not blocks[0] <= block <= blocks[1]:
            raise InputError(
                f"pinned={{{block}: {rank}}}: adapters are on blocks {blocks[0]} to {blocks[1]}. Pin one of "
                "these."
            )
        width = min((group.width for group in groups if group.block == block), default=0)
        if isinstance(rank, bool) or not isinstance(rank, int) or not 0 <= rank <= width:
            raise BudgetError(
                f"pinned={{{block}: {rank}}}: block {block} allows ranks 0 to {width}, the smaller side of "
                "its narrowest linear. Pin it within."
            )
    if groups and all(group.block in pins for group in groups):
        raise InputError(
            "every block is pinned, so there is nothing to search. Leave at least one block free."
        )
    return pins
