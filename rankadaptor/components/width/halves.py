"""The halves of a model's blocks, and the sizes of their tensors at every width. No torch import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rankadaptor.model.families import ATTENTION, MLP, find_family, find_module
from rankadaptor.pruning.groups import CoupledGroups, Member, find_groups

KINDS = {"heads": ATTENTION, "channels": MLP}


@dataclass(frozen=True)
class Part:
    """One linear of a half.

    Attributes:
        member: How the half's groups run through it.
        rows: Outputs of the whole linear.
        columns: Inputs of the whole linear.
        bias: Whether it has a bias.
    """

    member: Member
    rows: int
    columns: int
    bias: bool

    @property
    def name(self) -> str:
        """Full name of the linear."""
        return self.member.name

    @property
    def step(self) -> int:
        """Rows or columns of one group."""
        return self.member.repeats * self.member.width

    def shape(self, width: int) -> tuple[int, int]:
        """Return rows and columns where so many groups are kept."""
        if self.member.axis == 0:
            return width * self.step, self.columns
        return self.rows, width * self.step


@dataclass(frozen=True)
class Half:
    """The attention or the MLP of one block: what shares a width.

    Attributes:
        block: Index of the block.
        kind: `attention`, whose width counts KV groups, or `mlp`, whose width counts channels.
        groups: Its coupled groups.
        parts: Its linears.
        others: Lengths of its other parameters, which stay as long as the half: its norms.
        query_heads: Query heads of one KV group; 0 in an MLP.
        head_dim: Features of a head.
    """

    block: int
    kind: str
    groups: CoupledGroups
    parts: tuple[Part, ...]
    others: tuple[int, ...]
    query_heads: int
    head_dim: int

    @property
    def name(self) -> str:
        """Name of its slot."""
        return f"block{self.block}.{self.kind}"

    @property
    def full(self) -> int:
        """The width of the whole half."""
        return self.groups.count

    def count_parameters(self, width: int) -> int:
        """Count the parameters that are left at a width; none where the half is dropped."""
        if not width:
            return 0
        total = sum(self.others)
        for part in self.parts:
            rows, columns = part.shape(width)
            total += rows * columns + rows * part.bias
        return total

    def count_macs(self, width: int, *, length: int) -> int:
        """Count the multiply-accumulates of one token in a sequence of some length.

        As `describe_model` counts: the products of all linears, attention scores and mixing.
        """
        shapes = [part.shape(width) for part in self.parts] if width else []
        attended = 2 * length * width * self.query_heads * self.head_dim
        return sum(rows * columns for rows, columns in shapes) + attended


def describe_halves(model: Any) -> list[Half]:
    """List the halves that a model has, in block order, attention before MLP; dropped ones are left out.

    Raises:
        InputError: If the architecture is not supported.
    """
    family = find_family(model)
    blocks = find_module(model, family.blocks)
    halves = []
    for groups in find_groups(model):
        kind, block = KINDS[groups.target], blocks[groups.block]
        module, norm = getattr(block, family.half_path(kind)), getattr(block, family.norm_path(kind))
        parts = []
        for member in groups.members:
            linear = model.get_submodule(member.name)
            parts.append(Part(member, linear.out_features, linear.in_features, linear.bias is not None))
        inside = {id(value) for part in parts for value in model.get_submodule(part.name).parameters()}
        others = [value.numel() for value in module.parameters() if id(value) not in inside]
        head_dim = int(find_module(block, family.attention).head_dim)
        halves.append(
            Half(
                block=groups.block,
                kind=kind,
                groups=groups,
                parts=tuple(parts),
                others=(*others, *(value.numel() for value in norm.parameters())),
                query_heads=groups.members[0].repeats if kind == ATTENTION else 0,
                head_dim=head_dim,
            )
        )
    return halves
