"""A causal language model on packed batches: no padding, adapters inside products, no PEFT call.

The model itself does not change: the parts hold the same parameters, so training them trains the PEFT
adapter. They are read again for every batch, because an elastic adapter's ranks change from step to step. The
result is that of the model's own forward pass, up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from rankadaptor.components.adapter.lora.nested import LeadingLinear
from rankadaptor.components.adapter.lora.rounded import RoundedLinear
from rankadaptor.model.families import FAMILIES
from rankadaptor.training.attention import attend_prefix_groups
from rankadaptor.training.half_blocks import AttentionOutput, GatedMlp, Norm, QueryKeyValue, Turn
from rankadaptor.training.packing import PackedBatch, PrefixGroup
from rankadaptor.training.products import Frozen

MODEL_TYPES = frozenset(name for family in FAMILIES for name in family.model_types)
ATTENTION = ("q_proj", "k_proj", "v_proj")
MLP = ("gate_proj", "up_proj", "down_proj")
ACTIVATIONS = ("silu", "swish")

Tensors = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class PackedBlock:
    """One decoder block and the adapters of its parts; attention or MLP is None where it was dropped."""

    enter: QueryKeyValue | None
    leave: AttentionOutput | None
    mlp: GatedMlp | None
    scaling: float
    enter_tensors: Tensors
    leave_tensors: Tensors
    mlp_tensors: Tensors

    def attend(self, hidden: torch.Tensor, turn: Turn, prefix_groups: Sequence[PrefixGroup]) -> torch.Tensor:
        """Run the first half of the block."""
        if self.enter is None or self.leave is None:
            return hidden
        query, key, value = self.enter(hidden, turn, self.enter_tensors)
        attended = attend_prefix_groups(query, key, value, prefix_groups=prefix_groups, scaling=self.scaling)
        return self.leave(attended, hidden, self.leave_tensors)

    def transform(self, hidden: torch.Tensor) -> torch.Tensor:
        """Run the second half of the block."""
        return hidden if self.mlp is None else self.mlp(hidden, self.mlp_tensors)


class FrozenWeights:
    """Frozen weights in the precision of the products; a copy of each is kept until the weight changes.

    Args:
        dtype: Precision of the products.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._copies: dict[int, tuple[torch.Tensor, int, torch.Tensor]] = {}

    def read(self, weight: torch.Tensor, *, owner: Any) -> torch.Tensor:
        """Return the weight of a module in the precision of the products."""
        weight = weight.detach()
        if weight.dtype == self.dtype:
            return weight
        known = self._copies.get(id(owner))
        if known is None or known[0].data_ptr() != weight.data_ptr() or known[1] != weight._version:
            known = (weight, weight._version, weight.to(self.dtype))
            self._copies[id(owner)] = known
        return known[2]


class PackedModel:
    """The blocks of a causal language model, for batches without padding.

    Frozen weights in float32 are multiplied in `dtype`, from a copy of each that is made once.

    Args:
        model: A causal language model in which `find_obstacle` finds none, with or without an adapter.
        dtype: Precision of the products and of the hidden states.
    """

    def __init__(self, model: Any, *, dtype: torch.dtype) -> None:
        self.causal_lm = get_causal_lm(model)
        self.weights = FrozenWeights(dtype)

    def read_head(self) -> tuple[Any, torch.Tensor]:
        """Return the output head and its weight in the precision of the products."""
        head = self.causal_lm.get_output_embeddings()
        return head, self.weights.read(head.weight, owner=head)

    def compute_outputs(self, batch: PackedBatch, wanted: Sequence[int] = ()) -> tuple[torch.Tensor, Tensors]:
        """Return the last hidden states of the predicting tokens, and outputs of some blocks.

        Args:
            batch: The tokens.
            wanted: Indices of the blocks whose outputs are returned too.

        Returns:
            The hidden states behind the last norm, and one output per block in the order of `wanted`; all of
            the predicting tokens, `(targets, hidden)`.
        """
        inner = self.causal_lm.model
        hidden = inner.embed_tokens(batch.input_ids).detach().to(self.weights.dtype)
        cosines, sines = inner.rotary_emb(hidden, batch.positions[None])
        half = cosines.shape[-1] // 2  # both halves of the table are the same
        turn = (cosines[0, :, None, :half].contiguous(), sines[0, :, None, :half].contiguous())
        saving = self.causal_lm.is_activation_checkpointing and torch.is_grad_enabled()
        blocks = [_read_block(block, self.weights) for block in inner.layers]
        outputs: dict[int, torch.Tensor] = {}
        for number, block in enumerate(blocks, start=1):
            last = number == len(blocks)

            def run(given: torch.Tensor, block: PackedBlock = block, last: bool = last) -> torch.Tensor:
                given = block.attend(given, turn, batch.prefix_groups)
                # The other tokens are not needed any more.
                return block.transform(given[batch.predicting] if last else given)

            hidden = checkpoint(run, hidden, use_reentrant=False) if saving else run(hidden)
            if number - 1 in wanted:
                outputs[number - 1] = hidden if last else hidden[batch.predicting]
        return inner.norm(hidden).to(hidden.dtype), tuple(outputs[index] for index in wanted)


def get_causal_lm(model: Any) -> Any:
    """Return the causal language model inside a PEFT model, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def find_obstacle(model: Any, *, dtype: torch.dtype, training: bool) -> str | None:
    """Return why a model cannot be read as a `PackedModel`, or None if it can.

    Args:
        model: A causal language model, with or without an adapter.
        dtype: Precision of the products; frozen weights have it, or are in float32 and are trained upon.
        training: Whether gradients are needed; then only adapters may be trained.
    """
    causal_lm = get_causal_lm(model)
    config = causal_lm.config
    if config.model_type not in MODEL_TYPES:
        return f"model type {config.model_type}"
    if getattr(config, "hidden_act", None) not in ACTIVATIONS:
        return f"activation {getattr(config, 'hidden_act', None)}"
    if training and getattr(config, "attention_dropout", None):
        return "attention dropout"
    if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        return "virtual tokens"
    for obstacle in _list_obstacles(causal_lm, dtype=dtype, training=training):
        return obstacle
    return None


def find_window(model: Any) -> int | None:
    """Return the length of the attention window, None if there is none."""
    causal_lm = get_causal_lm(model)
    windows = [getattr(block.self_attn, "sliding_window", None) for block in causal_lm.model.layers]
    if causal_lm.config.model_type == "mistral":
        windows.append(causal_lm.config.sliding_window)
    return min((window for window in windows if window is not None), default=None)


def _list_obstacles(causal_lm: Any, *, dtype: torch.dtype, training: bool) -> Iterator[str]:
    from peft.tuners.lora import Linear as LoraLinear

    trained = set()
    for name, module in causal_lm.named_modules():
        if module._forward_hooks or module._forward_pre_hooks:
            yield f"{name} has a hook"
        if isinstance(module, LoraLinear):
            obstacle = _find_lora_obstacle(module, training=training)
            if obstacle is not None:
                yield f"{name} has {obstacle}"
            trained |= {id(value) for each in (module.lora_A, module.lora_B) for value in each.parameters()}
            module = module.base_layer
        if name.endswith("_proj") and type(module) is not torch.nn.Linear:
            yield f"{name} is a {type(module).__name__}"
    for name, value in causal_lm.named_parameters():
        if id(value) in trained:
            continue
        # Without training, float32 weights keep the precision of the model's own forward under autocast.
        if value.dtype != dtype and not (training and value.dtype == torch.float32):
            yield f"{name} is {value.dtype}, not {dtype}"
        if training and value.requires_grad:
            yield f"{name} is trained"


def _find_lora_obstacle(module: Any, *, training: bool) -> str | None:
    if len(module.active_adapters) != 1 and not module.disable_adapters and not module.merged:
        return f"{len(module.active_adapters)} active adapters"
    if module.lora_variant or any(module.lora_bias.values()):
        return "a variant of LoRA"
    sides = (*module.lora_A.values(), *module.lora_B.values())
    if strange := {
        type(side).__name__ for side in sides if type(side) not in (torch.nn.Linear, LeadingLinear)
    }:
        return f"an adapter made of {', '.join(sorted(strange))}"
    dropouts = [dropout for dropout in module.lora_dropout.values() if getattr(dropout, "p", 0.0)]
    return "dropout" if training and dropouts else None


def _read_block(block: Any, weights: FrozenWeights) -> PackedBlock:
    attention, mlp = block.self_attn, block.mlp
    enter, leave, transform = None, None, None
    enter_tensors, leave_tensors, mlp_tensors = (), (), ()  # type: tuple[Tensors, Tensors, Tensors]
    if hasattr(attention, "q_proj"):
        first, enter_tensors = _read_linears(attention, ATTENTION, weights)
        last, leave_tensors = _read_linears(attention, ("o_proj",), weights)
        query_norm, key_norm = getattr(attention, "q_norm", None), getattr(attention, "k_norm", None)
        enter = QueryKeyValue(
            norm=_read_norm(block.input_layernorm, weights),
            linears=(first[0], first[1], first[2]),
            head_dim=attention.head_dim,
            head_norms=None
            if query_norm is None
            else (_read_norm(query_norm, weights), _read_norm(key_norm, weights)),
        )
        leave = AttentionOutput((last[0],))
    if hasattr(mlp, "down_proj"):
        inside, mlp_tensors = _read_linears(mlp, MLP, weights)
        transform = GatedMlp(
            _read_norm(block.post_attention_layernorm, weights), (inside[0], inside[1], inside[2])
        )
    return PackedBlock(
        enter=enter,
        leave=leave,
        mlp=transform,
        scaling=attention.scaling if enter is not None else 1.0,
        enter_tensors=enter_tensors,
        leave_tensors=leave_tensors,
        mlp_tensors=mlp_tensors,
    )


def _read_norm(module: Any, weights: FrozenWeights) -> Norm:
    return Norm(weights.read(module.weight, owner=module), float(module.variance_epsilon))


def _read_linears(parent: Any, names: Sequence[str], weights: FrozenWeights) -> tuple[list[Frozen], Tensors]:
    linears, tensors = [], []
    for name in names:
        module = getattr(parent, name)
        base = getattr(module, "base_layer", module)
        scale = None
        if base is not module and not module.disable_adapters and not module.merged:
            adapter = module.active_adapters[0]
            if adapter in module.lora_A:
                scale = float(module.scaling[adapter])
                tensors += [module.lora_A[adapter].weight, module.lora_B[adapter].weight]
        bias = None if base.bias is None else base.bias.detach().to(weights.dtype)
        if scale is not None and isinstance(module, RoundedLinear):
            weight, mask = weights.read(module.read_rounded(), owner=base), module.rounding.mask
            linears.append(Frozen(weight, bias, scale, contains_adapter=True, mask=mask))
        else:
            linears.append(Frozen(weights.read(base.weight, owner=base), bias, scale))
    return linears, tuple(tensors)
