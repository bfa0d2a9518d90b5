"""Build a model whose blocks differ in width, which transformers' own classes cannot do yet."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from rankadaptor.errors import InputError
from rankadaptor.model.families import ATTENTION, HALVES, describe_blocks, find_family, find_module

_LOCK = threading.RLock()


def allow_global_reads() -> None:
    """Silence transformers' warnings about global widths of a model whose blocks differ.

    PEFT and the generation code read fields such as `num_attention_heads` only for display or caches. Every
    block is built from its own entry, so the warnings do not apply.
    """
    logging.getLogger("transformers.integrations.heterogeneity.configuration_utils").setLevel(logging.ERROR)


@contextlib.contextmanager
def per_layer_blocks(model_class: Any) -> Iterator[None]:
    """Let `model_class` build each block from its own entry of `config.per_layer_config`.

    transformers stores per-layer widths but its Llama-like models build every block from the global
    configuration. Inside this context the block class in the family's module is replaced by one that passes
    each block its own configuration. A lock serialises loads through this function. A load by other code in
    another thread would also use the replacement, which has no effect on a model with equal blocks.
    """
    from rankadaptor.model.dropped import SKIP, drop_skipped, find_cache_places

    module, name = sys.modules[model_class.__module__], model_class._no_split_modules[0]

    def build(config: Any, layer_idx: int) -> Any:
        family, entries = find_family(SimpleNamespace(config=config)), list(config.per_layer_config)
        built = block(entries[layer_idx], layer_idx)
        drop_skipped(built, entries[layer_idx], family=family)
        keeps = [ATTENTION not in (getattr(entry, SKIP, None) or ()) for entry in entries]
        place = find_cache_places(keeps, getattr(config, "layer_types", None))[layer_idx]
        if place is not None:
            find_module(built, family.attention).layer_idx = place
        # From here on the blocks share the model's configuration, so that later changes apply to them too.
        for part in built.modules():
            if getattr(part, "config", None) is not None:
                part.config = config
        return built

    with _LOCK:
        block = getattr(module, name)
        setattr(module, name, build)
        try:
            yield
        finally:
            setattr(module, name, block)


def explain_modelling(model: Any) -> str:
    """Say why plain transformers cannot build a pruned model's blocks from its configuration class alone."""
    shapes = describe_blocks(model)
    if not all(shape.heads and shape.channels for shape in shapes):
        return "some of its blocks lack attention or MLP"
    first, hidden = shapes[0], model.config.hidden_size
    if len({(shape.heads, shape.kv_heads, shape.channels) for shape in shapes}) > 1:
        return "its blocks differ in width"
    group = first.heads // first.kv_heads
    plain = [count for count in range(first.heads, 0, -1) if count % group == 0 and hidden % count == 0]
    offer = f"; {' or '.join(map(str, plain[:2]))} heads would load without" if plain else ""
    return (
        f"its blocks are equal, but {type(model.config).__name__} refuses {first.heads} heads, which do not "
        f"divide the hidden size {hidden}{offer}"
    )


MODELLING_FILE = "modeling_pruned.py"

_TEMPLATE = '''\
"""A pruned {model}: every block is built from its own entry of `config.per_layer_config`.

Written by RankAdaptor beside the weights. Load the folder with
`AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)`; RankAdaptor itself does not need it.
"""

from torch import nn
from transformers.models.{family}.modeling_{family} import {block}, {model}, {inner}


{classes}class Pruned{inner}({inner}):
    def __init__(self, config):
        super().__init__(config)
        count = config.num_hidden_layers
        self.layers = nn.ModuleList([{block}(config.per_layer_config[i], i) for i in range(count)])
{drop}        for part in self.layers.modules():
            if getattr(part, "config", None) is not None:
                part.config = config
        self.post_init()


class Pruned{model}({model}):
    def __init__(self, config):
        super().__init__(config)
        self.model = Pruned{inner}(config)
        self.post_init()
'''

_CLASSES = """\
class DroppedAttention(nn.Module):
    def __init__(self, head_dim):
        super().__init__()
        self.head_dim = head_dim

    def forward(self, hidden_states, *args, **kwargs):
        return hidden_states.new_zeros(()), None


class DroppedMlp(nn.Module):
    def forward(self, hidden_states):
        return hidden_states.new_zeros(())


"""

# The cache is filled from its first index, from which transformers reads the number of cached tokens.
_DROP = """\
        kinds = getattr(config, "layer_types", None) or [""] * count
        free = {kind: [i for i in range(count) if kinds[i] == kind] for kind in kinds}
        for i, layer in enumerate(self.layers):
            skip = getattr(config.per_layer_config[i], "{skip}", None) or ()
            if "{attention}" in skip:
                layer.{attention_path} = DroppedAttention(layer.{attention_path}.head_dim)
                layer.{attention_norm} = nn.Identity()
            else:
                layer.{attention_path}.layer_idx = free[kinds[i]].pop(0)
            if "{mlp}" in skip:
                layer.{mlp_path} = DroppedMlp()
                layer.{mlp_norm} = nn.Identity()
"""


def write_modelling(model: Any) -> tuple[str, dict[str, str]]:
    """Write the small self-contained modelling file for a model with uneven blocks.

    Returns:
        The file's text and the value for `auto_map`. vLLM's backend for models of transformers reads the
        entry `AutoModel`, transformers itself `AutoModelForCausalLM`.
    """
    name = type(model).__name__.removeprefix("Pruned")
    family, drop = find_family(model), ""
    if not all(shape.heads and shape.channels for shape in describe_blocks(model)):
        names = {f"{half}_path": family.half_path(half) for half in HALVES}
        names |= {f"{half}_norm": family.norm_path(half) for half in HALVES}
        drop = _DROP
        for key, value in {"skip": "skip", **dict(zip(HALVES, HALVES, strict=True)), **names}.items():
            drop = drop.replace("{" + key + "}", value)
    inner = type(model.model).__name__.removeprefix("Pruned")
    text = _TEMPLATE.format(
        drop=drop,
        classes=_CLASSES if drop else "",
        model=name,
        inner=inner,
        block=type(model.model.layers[0]).__name__,
        family=model.config.model_type,
    )
    module = MODELLING_FILE.removesuffix(".py")
    return text, {
        "AutoModel": f"{module}.Pruned{inner}",
        "AutoModelForCausalLM": f"{module}.Pruned{name}",
    }


def choose_blocks(count: int, *, skip_first: int, skip_last: int) -> range:
    """Return the indices of the blocks to search.

    Raises:
        InputError: If the range lies outside the model or is empty.
    """
    if skip_first < 0 or skip_last < 0 or skip_first + skip_last >= count:
        raise InputError(
            f"skip_first={skip_first}, skip_last={skip_last}: this model has {count} blocks, so the two "
            f"must be at least 0 and sum to at most {count - 1}."
        )
    return range(skip_first, count - skip_last)
