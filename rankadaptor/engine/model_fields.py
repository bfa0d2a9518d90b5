"""A Hugging Face model as llama.cpp describes it: shape, metadata, and what its architectures cannot express.

Only two of them build their graphs from widths and heads that differ by block and fit these families: `deci`
(Llama, Mistral, Qwen2) and `openelm` (Qwen3 with tied embeddings).
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any

from rankadaptor.engine.file_plan import (
    ARCHITECTURE,
    DECI,
    OPENELM,
    Chosen,
    Field,
    ModelShape,
    find_file_channels,
    find_file_heads,
)
from rankadaptor.errors import InputError
from rankadaptor.model.families import (
    BlockShape,
    describe_blocks,
    describe_linears,
    find_blocks,
    find_family,
    find_module,
)

ARCHITECTURES = MappingProxyType({"llama": DECI, "mistral": DECI, "qwen2": DECI, "qwen3": OPENELM})
SUPPORTED_ACTIVATION = ("silu", "swish")
SCALED = ("linear", "llama3")  # scalings of rotary positions that divide each frequency, and do no more
QUANTISATION_VERSION = 2
HF_FOLDER = "Write a Hugging Face folder instead (--format hf), which vLLM and transformers run."


def read_shape(model: Any) -> ModelShape:
    """Read what decides the tensors of a model's file, and refuse what llama.cpp would compute differently.

    Attention or an MLP whose output projection is all zeros adds nothing to the hidden state, and counts as
    removed.

    Raises:
        InputError: If the family, the head, the position encoding, the activation or a bias cannot be
            expressed; the message says which.
    """
    find_family(model)
    config = model.config
    architecture = ARCHITECTURES.get(config.model_type)
    if architecture is None:
        raise InputError(
            f"Model type {config.model_type!r} has no architecture in GGUF whose layers may differ. Those "
            f"that have: {', '.join(ARCHITECTURES)}. {HF_FOLDER}"
        )
    tied = bool(config.tie_word_embeddings)
    if architecture == OPENELM and not tied:
        raise InputError(
            "Qwen3 with an output head of its own (tie_word_embeddings: false) has no architecture in GGUF "
            f"whose layers may differ: openelm, the only one with norms of heads, ties them. {HF_FOLDER}"
        )
    rotary = _find_rotary(config, architecture)
    activation = getattr(config, "hidden_act", "silu")
    if activation not in SUPPORTED_ACTIVATION:
        raise InputError(
            f"hidden_act={activation!r}: llama.cpp computes silu in the MLPs of these families. {HF_FOLDER}"
        )
    blocks = tuple(_mark_removed(model, shape) for shape in describe_blocks(model))
    if len(dims := {shape.head_dim for shape in blocks}) > 1:
        raise InputError(
            f"head_dim differs between blocks ({sorted(dims)}), and a GGUF file has one. {HF_FOLDER}"
        )
    return ModelShape(
        architecture=architecture,
        vocabulary=int(model.get_input_embeddings().weight.shape[0]),
        hidden=int(config.hidden_size),
        head_dim=blocks[0].head_dim,
        tied=tied,
        biases=_find_biases(model, architecture),
        blocks=blocks,
        rotary=rotary,
    )


def list_model_fields(
    shape: ModelShape, config: Any, *, chosen: Chosen, context: int | None = None
) -> list[Field]:
    """List the metadata about the model, in the order of the file.

    Args:
        shape: Its shape.
        config: Its Hugging Face configuration.
        chosen: Types, which decide to which multiples widths are padded.
        context: Longest text in tokens that the engine is told; by default `max_position_embeddings`.

    Raises:
        InputError: If attention has a window that is shorter than `context`.
    """
    longest = int(context or config.max_position_embeddings)
    _refuse_window(config, longest)
    heads = [find_file_heads(shape, block) for block in shape.blocks]
    name = shape.architecture
    return [
        Field(ARCHITECTURE, "string", name),
        Field("general.quantization_version", "uint32", QUANTISATION_VERSION),
        Field(f"{name}.block_count", "uint32", len(shape.blocks)),
        Field(f"{name}.context_length", "uint32", longest),
        Field(f"{name}.embedding_length", "uint32", shape.hidden),
        Field(f"{name}.vocab_size", "uint32", shape.vocabulary),
        Field(
            f"{name}.feed_forward_length",
            "int32s",
            [find_file_channels(block, chosen) for block in shape.blocks],
        ),
        Field(f"{name}.attention.head_count", "int32s", [queries for queries, _ in heads]),
        Field(f"{name}.attention.head_count_kv", "int32s", [groups for _, groups in heads]),
        Field(f"{name}.attention.key_length", "uint32", shape.head_dim),
        Field(f"{name}.attention.value_length", "uint32", shape.head_dim),
        Field(f"{name}.attention.layer_norm_rms_epsilon", "float32", float(config.rms_norm_eps)),
        Field(f"{name}.rope.dimension_count", "uint32", shape.head_dim),
        Field(f"{name}.rope.freq_base", "float32", float(_read_rope(config).get("rope_theta") or 10000.0)),
    ]


def _mark_removed(model: Any, shape: BlockShape) -> BlockShape:
    family, block = find_family(model), find_blocks(model)[shape.block]
    if shape.heads and _adds_nothing(find_module(block, family.linears[family.output])):
        shape = replace(shape, heads=0, kv_heads=0)
    if shape.channels and _adds_nothing(find_module(block, family.linears[family.channel_columns[0]])):
        shape = replace(shape, channels=0)
    return shape


def _adds_nothing(linear: Any) -> bool:
    return linear.bias is None and not bool(linear.weight.any())


def _find_biases(model: Any, architecture: str) -> tuple[str, ...]:
    found = {
        linear.kind for linear in describe_linears(model) if find_module(model, linear.name).bias is not None
    }
    allowed = ("q_proj", "k_proj", "v_proj", "o_proj") if architecture == DECI else ()
    if others := sorted(found.difference(allowed)):
        raise InputError(
            f"{', '.join(others)} have biases, for which the architecture {architecture} of llama.cpp has no "
            f"place. {HF_FOLDER}"
        )
    return tuple(kind for kind in allowed if kind in found)


def _read_rope(config: Any) -> dict[str, Any]:
    found = dict(getattr(config, "rope_parameters", None) or {})
    found.setdefault("rope_theta", getattr(config, "rope_theta", None))
    return found


def _find_rotary(config: Any, architecture: str) -> tuple[float, ...]:
    """Return by what the frequencies of rotary positions are divided, as transformers computes it."""
    rope = _read_rope(config)
    kind = rope.get("rope_type") or rope.get("type") or "default"
    share = rope.get("partial_rotary_factor") or getattr(config, "partial_rotary_factor", None) or 1.0
    if share != 1.0 or (kind != "default" and (architecture != DECI or kind not in SCALED)):
        what = f"partial_rotary_factor {share}" if share != 1.0 else f"rope_type {kind!r}"
        allowed = f"plain or scaled as {' or '.join(SCALED)}" if architecture == DECI else "plain"
        raise InputError(
            f"{what}: the architecture {architecture} of llama.cpp rotates whole heads with frequencies that "
            f"are {allowed}. {HF_FOLDER}"
        )
    if kind == "default":
        return ()
    import torch
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    scaled, _ = ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"))
    steps = torch.arange(len(scaled), dtype=torch.float64) / len(scaled)
    plain = float(rope["rope_theta"]) ** -steps
    return tuple((plain / scaled.double()).tolist())


def _refuse_window(config: Any, longest: int) -> None:
    window = getattr(config, "sliding_window", None)
    if getattr(config, "use_sliding_window", True) is False or window is None:
        return
    kinds = getattr(config, "layer_types", None)
    if kinds and all(kind == "full_attention" for kind in kinds):
        return
    if int(window) < longest:
        raise InputError(
            f"sliding_window={window} is shorter than the context of {longest} tokens, and the architecture "
            f"that allows uneven layers has no window. Give context={window} (--context {window}), within "
            "which nothing differs."
        )
