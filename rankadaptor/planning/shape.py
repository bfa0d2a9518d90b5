"""A causal LM's sizes, read from its `config.json` alone: no weights, no torch, no transformers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from rankadaptor.data.model_limits import find_positions
from rankadaptor.errors import InputError
from rankadaptor.files import read_json
from rankadaptor.model.families import ATTENTION, MLP, find_family
from rankadaptor.runtime import find_home

if TYPE_CHECKING:
    from rankadaptor.config.sections import PruneSection

# Content of config.json of the kit's models, for plans before the kit is downloaded.
KIT_CONFIGS: dict[str, dict[str, Any]] = {
    "smollm2-135m": {
        "model_type": "llama",
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "head_dim": 64,
        "vocab_size": 49152,
        "tie_word_embeddings": True,
    }
}


@dataclass(frozen=True)
class LinearShape:
    """One target linear, with the fields that `RankSpace.from_linears` needs."""

    name: str
    block: int
    kind: str
    in_features: int
    out_features: int


@dataclass(frozen=True)
class BlockShape:
    """Widths of one decoder block.

    Attributes:
        heads: Query heads; 0 where the attention was dropped.
        kv_heads: Key-value heads.
        channels: Width of the MLP; 0 where it was dropped.
    """

    heads: int
    kv_heads: int
    channels: int


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a causal LM with gated MLPs.

    Attributes:
        hidden: Width of the residual stream.
        vocabulary: Number of tokens.
        head_dim: Width of one head.
        tied: Whether input and output embeddings are one matrix.
        blocks: Widths of each block.
        positions: Maximum number of tokens in a sequence; None if the configuration has none.
    """

    hidden: int
    vocabulary: int
    head_dim: int
    tied: bool
    blocks: tuple[BlockShape, ...]
    positions: int | None = None

    @property
    def linears(self) -> list[LinearShape]:
        """The linears that adapters may go on, in the order of a forward pass."""
        found = []
        for number, block in enumerate(self.blocks):
            query, key = block.heads * self.head_dim, block.kv_heads * self.head_dim
            for kind, inner, outer in (
                ("self_attn.q_proj", self.hidden, query),
                ("self_attn.k_proj", self.hidden, key),
                ("self_attn.v_proj", self.hidden, key),
                ("self_attn.o_proj", query, self.hidden),
                ("mlp.gate_proj", self.hidden, block.channels),
                ("mlp.up_proj", self.hidden, block.channels),
                ("mlp.down_proj", block.channels, self.hidden),
            ):
                name = f"model.layers.{number}.{kind}"
                found.append(LinearShape(name, number, kind.rpartition(".")[2], inner, outer))
        return [linear for linear in found if linear.in_features and linear.out_features]

    @property
    def multiplied(self) -> int:
        """Weights of the matrix products of each token: all linears and the output embedding."""
        inner = sum(linear.in_features * linear.out_features for linear in self.linears)
        return inner + self.hidden * self.vocabulary

    @property
    def parameters(self) -> int:
        """All parameters."""
        halves = sum(bool(block.heads) + bool(block.channels) for block in self.blocks)
        norms = self.hidden * (halves + 1)
        return self.multiplied + norms + (0 if self.tied else self.hidden * self.vocabulary)


def read_shape(source: str) -> ModelShape:
    """Read a model's sizes from its `config.json`.

    Args:
        source: `kit:NAME`, a folder, or a hub id (only its config.json is fetched).

    Raises:
        InputError: If there is no such model, or its architecture is not supported.
    """
    return parse_shape(_read_config(source), source=source)


def parse_shape(config: Mapping[str, Any], *, source: str) -> ModelShape:
    """Read the sizes from the content of a `config.json`, with pruned widths of single blocks."""
    family = find_family(SimpleNamespace(config=SimpleNamespace(model_type=config.get("model_type"))))
    try:
        heads, hidden = int(config[family.heads_key]), int(config["hidden_size"])
        full = BlockShape(
            heads=heads,
            kv_heads=int(config.get(family.kv_heads_key) or heads),
            channels=int(config[family.channels_key]),
        )
        blocks = [full] * int(config["num_hidden_layers"])
        for key, widths in (config.get("per_layer_config") or {}).items():
            dropped = widths.get("skip") or ()
            attends, transforms = ATTENTION not in dropped, MLP not in dropped
            blocks[int(key)] = BlockShape(
                heads=int(widths.get(family.heads_key, full.heads)) if attends else 0,
                kv_heads=int(widths.get(family.kv_heads_key, full.kv_heads)) if attends else 0,
                channels=int(widths.get(family.channels_key, full.channels)) if transforms else 0,
            )
        for entry in (config.get("rankadaptor") or {}).get("blocks", []):
            blocks[int(entry["block"])] = BlockShape(
                heads=int(entry["heads"]), kv_heads=int(entry["kv_heads"]), channels=int(entry["channels"])
            )
        return ModelShape(
            hidden=hidden,
            vocabulary=int(config["vocab_size"]),
            head_dim=int(config.get("head_dim") or hidden // heads),
            tied=bool(config.get("tie_word_embeddings", False)),
            blocks=tuple(blocks),
            positions=find_positions(config),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(
            f"model {source}: its config.json lacks the sizes of a decoder-only model ({error!r}, "
            f"model_type "
            f"{config.get('model_type')!r}). Supported are Llama-like causal language models."
        ) from error


def shrink_shape(shape: ModelShape, prune: PruneSection) -> ModelShape:
    """Return the approximate sizes after pruning: equal shares of heads and channels cut from each block.

    Without the weights it is not known which whole blocks would be removed; the last ones are assumed.
    """
    keep = 1 - prune.ratio
    last = len(shape.blocks) - prune.skip_last
    if "blocks" in prune.targets:
        searched = max(last - prune.skip_first, 0)
        gone = min(round(prune.ratio * searched), len(shape.blocks) - 1)
        return dataclasses.replace(shape, blocks=shape.blocks[: last - gone] + shape.blocks[last:])

    def shrink(number: int, block: BlockShape) -> BlockShape:
        if not prune.skip_first <= number < last:
            return block
        heads, kv_heads, channels = block.heads, block.kv_heads, block.channels
        if "heads" in prune.targets:
            group = max(heads // max(kv_heads, 1), 1)
            if prune.head_unit == "kv_group":
                kv_heads = max(round(kv_heads * keep), 1)
                heads = kv_heads * group
            else:
                heads = max(round(heads * keep), 1)
        if "channels" in prune.targets:
            channels = max(round(channels * keep / prune.align), 1) * prune.align
        return BlockShape(heads=heads, kv_heads=kv_heads, channels=channels)

    blocks = tuple(shrink(number, block) for number, block in enumerate(shape.blocks))
    return dataclasses.replace(shape, blocks=blocks)


def _read_config(source: str) -> dict[str, Any]:
    if source.startswith("kit:"):
        from rankadaptor.kit.model import DERIVED_MODELS, find_derived_model
        from rankadaptor.kit.names import check_name

        name = source.removeprefix("kit:")
        check_name(name, (*KIT_CONFIGS, *DERIVED_MODELS), what="a model")
        if name in DERIVED_MODELS:
            return _read_mapping(find_derived_model(name) / "config.json")
        local = find_home() / "models" / name / "config.json"
        return _read_mapping(local) if local.is_file() else KIT_CONFIGS[name]
    if Path(source).is_dir():
        return _read_mapping(Path(source) / "config.json")
    return _read_mapping(_fetch_config(source))


def _read_mapping(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: must hold a JSON object, as Hugging Face writes it.")
    return content


def _fetch_config(source: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(source, "config.json"))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        first = str(error).strip().splitlines()[0]
        raise InputError(
            f"model {source!r}: no such folder, and its config.json cannot be fetched from the hub "
            f"({first}). "
            "Give kit:smollm2-135m, a folder in Hugging Face form, or a hub id that this machine can reach."
        ) from error
