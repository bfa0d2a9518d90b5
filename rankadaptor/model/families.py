"""Model families as data: paths of the blocks and linears, and names of their widths. No torch import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from rankadaptor.errors import InputError

LLAMA_LINEARS: Mapping[str, str] = MappingProxyType(
    {
        "q_proj": "self_attn.q_proj",
        "k_proj": "self_attn.k_proj",
        "v_proj": "self_attn.v_proj",
        "o_proj": "self_attn.o_proj",
        "gate_proj": "mlp.gate_proj",
        "up_proj": "mlp.up_proj",
        "down_proj": "mlp.down_proj",
    }
)


ATTENTION, MLP = "attention", "mlp"
HALVES = (ATTENTION, MLP)
"""The two halves of a decoder block, each added to the residual stream."""


@dataclass(frozen=True)
class Family:
    """Layout of the decoder blocks of one architecture.

    A query head has `head_dim` rows of `query` and as many columns of `output`; a key-value head has
    `head_dim` rows of each of `keys_values`. An MLP channel has one row of each of `channel_rows` and one
    column of `channel_columns`. Parameters of size `head_dim` (such as Qwen3's `q_norm` and `k_norm`) are
    shared by all heads and are kept.

    Attributes:
        name: Its name in messages.
        model_types: Values of `config.model_type` that have this layout.
        blocks: Path of the list of blocks inside the causal language model.
        linears: Kind → path inside a block.
        attention: Name of the attention module in a block; it has `head_dim` and `num_key_value_groups`.
        mlp: Name of the MLP module in a block.
        attention_norm: Name of the norm before the attention.
        mlp_norm: Name of the norm before the MLP.
        query: Kind whose rows are query heads.
        keys_values: Kinds whose rows are key-value heads.
        output: Kind whose columns are query heads.
        channel_rows: Kinds whose rows are MLP channels.
        channel_columns: Kinds whose columns are MLP channels.
        heads_key: Configuration field with the number of query heads.
        kv_heads_key: Configuration field with the number of key-value heads.
        channels_key: Configuration field with the number of MLP channels.
    """

    name: str
    model_types: tuple[str, ...]
    blocks: str = "model.layers"
    linears: Mapping[str, str] = field(default_factory=lambda: LLAMA_LINEARS)
    attention: str = "self_attn"
    mlp: str = "mlp"
    attention_norm: str = "input_layernorm"
    mlp_norm: str = "post_attention_layernorm"
    query: str = "q_proj"
    keys_values: tuple[str, ...] = ("k_proj", "v_proj")
    output: str = "o_proj"
    channel_rows: tuple[str, ...] = ("gate_proj", "up_proj")
    channel_columns: tuple[str, ...] = ("down_proj",)
    heads_key: str = "num_attention_heads"
    kv_heads_key: str = "num_key_value_heads"
    channels_key: str = "intermediate_size"

    def half_of(self, kind: str) -> str:
        """Return the half of a block that a kind of linear belongs to."""
        return MLP if kind in (*self.channel_rows, *self.channel_columns) else ATTENTION

    def half_path(self, half: str) -> str:
        """Return the name of a half's module in its block."""
        return self.attention if half == ATTENTION else self.mlp

    def norm_path(self, half: str) -> str:
        """Return the name of the norm before a half."""
        return self.attention_norm if half == ATTENTION else self.mlp_norm

    def root_path(self, half: str) -> str:
        """Return the path of the linear whose rows are the heads or the channels of a half."""
        return self.linears[self.query if half == ATTENTION else self.channel_rows[0]]


FAMILIES: tuple[Family, ...] = (
    Family(name="Llama", model_types=("llama",)),
    Family(name="Mistral", model_types=("mistral",)),
    Family(name="Qwen2", model_types=("qwen2",)),
    Family(name="Qwen3", model_types=("qwen3",)),
)


@dataclass(frozen=True)
class Linear:
    """One linear of a block.

    Attributes:
        name: Full module name, for example `model.layers.3.self_attn.q_proj`.
        block: Index of its block.
        kind: Its name inside the family, for example `q_proj`.
        in_features: Columns of the weight.
        out_features: Rows of the weight.
    """

    name: str
    block: int
    kind: str
    in_features: int
    out_features: int


@dataclass(frozen=True)
class BlockShape:
    """The widths of one block: query heads, key-value heads, features of a head, MLP channels.

    A half that was dropped has width 0.
    """

    block: int
    heads: int
    kv_heads: int
    head_dim: int
    channels: int


def find_family(model: Any) -> Family:
    """Find the family of a causal language model by its `config.model_type`.

    Raises:
        InputError: If the architecture is not described here; the message lists the supported ones.
    """
    model_type = getattr(getattr(model, "config", None), "model_type", None)
    for family in FAMILIES:
        if model_type in family.model_types:
            return family
    supported = ", ".join(sorted(name for family in FAMILIES for name in family.model_types))
    raise InputError(
        f"Model type {model_type!r} is not described in rankadaptor/model/families.py. "
        f"Supported: {supported}. To add one, see docs/how-to/add-a-family.md."
    )


def find_module(root: Any, path: str) -> Any:
    """Follow a dotted path of attributes; a part that is a number indexes a list of modules."""
    for part in path.split("."):
        root = root[int(part)] if part.isdigit() else getattr(root, part)
    return root


def find_blocks(model: Any) -> Any:
    """Return the model's list of decoder blocks."""
    return find_module(model, find_family(model).blocks)


def has_half(block: Any, half: str, *, family: Family) -> bool:
    """Tell whether a block still has its attention or its MLP."""
    parent, _, name = family.root_path(half).rpartition(".")
    return hasattr(find_module(block, parent) if parent else block, name)


def describe_linears(model: Any) -> list[Linear]:
    """List the linears of every block, in block order and within a block in the family's order.

    Halves of blocks that were dropped have none. Only attributes are read (`config.model_type`,
    `in_features`, `out_features`), so any object that has them works.

    Raises:
        InputError: If the architecture is not supported.
    """
    family = find_family(model)
    linears = []
    for index, block in enumerate(find_module(model, family.blocks)):
        for kind, path in family.linears.items():
            if not has_half(block, family.half_of(kind), family=family):
                continue
            module = find_module(block, path)
            linears.append(
                Linear(
                    name=f"{family.blocks}.{index}.{path}",
                    block=index,
                    kind=kind,
                    in_features=int(module.in_features),
                    out_features=int(module.out_features),
                )
            )
    return linears


def describe_blocks(model: Any) -> list[BlockShape]:
    """Read every block's widths from its linears, which are correct after uneven pruning too.

    Raises:
        InputError: If the architecture is not supported.
    """
    family = find_family(model)
    shapes = []
    for index, block in enumerate(find_module(model, family.blocks)):
        head_dim = int(find_module(block, family.attention).head_dim)
        attends, transforms = (has_half(block, half, family=family) for half in HALVES)
        query, key = family.linears[family.query], family.linears[family.keys_values[0]]
        rows = family.root_path(MLP)
        shapes.append(
            BlockShape(
                block=index,
                heads=find_module(block, query).out_features // head_dim if attends else 0,
                kv_heads=find_module(block, key).out_features // head_dim if attends else 0,
                head_dim=head_dim,
                channels=int(find_module(block, rows).out_features) if transforms else 0,
            )
        )
    return shapes
