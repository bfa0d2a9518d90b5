"""PEFT configurations of the methods that take no rank per linear."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rankadaptor.components.adapter.lora.attach import ADAPTER_NAME
from rankadaptor.errors import InputError
from rankadaptor.methods import choose_first_rank, find_method
from rankadaptor.model.dropped import list_cache_places
from rankadaptor.model.families import describe_blocks, describe_linears, find_family

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel

    from rankadaptor.recipe import Recipe

TASK = "CAUSAL_LM"
WARM_SHARE, FINAL_SHARE = 0.12, 0.5
"""Shares of the steps before AdaLoRA cuts ranks and after it has cut them, as in [AdaLoRA]_'s runs."""
PREFIX_SPREAD = 0.02
"""Standard deviation of new prefixes. With zeros, all virtual tokens would stay equal to each other."""


def make_config(model: Any, recipe: Recipe, *, steps: int) -> PeftConfig:
    """Return the PEFT configuration of a recipe's method for one model.

    Args:
        model: A causal language model without an adapter.
        recipe: Method, ranks and sizes.
        steps: Optimiser steps of the fine-tune, which AdaLoRA divides into phases.

    Raises:
        InputError: If the method does not fit the model or the steps.
    """
    makers = {
        "adalora": lambda: make_adalora(model, recipe, steps=steps),
        "ia3": lambda: make_ia3(model),
        "prompt_tuning": lambda: make_prompt(recipe),
        "prefix_tuning": lambda: make_prefix(model, recipe),
    }
    return makers[recipe.method]()


def make_adalora(model: Any, recipe: Recipe, *, steps: int) -> PeftConfig:
    """Configure AdaLoRA [AdaLoRA]_ on every linear: the recipe's reference rank is the final mean rank."""
    from peft import AdaLoraConfig

    fewest = find_method(recipe.method).fewest_steps
    if steps < fewest:
        raise InputError(
            f"steps={steps}: AdaLoRA cuts ranks in the middle of the fine-tune and needs at least {fewest} "
            "steps. Give more, or take method='lora'."
        )
    rank = recipe.reference_rank
    first = choose_first_rank(rank)
    return AdaLoraConfig(
        task_type=TASK,
        target_r=rank,
        init_r=first,
        # PEFT divides alpha by the first rank; the scale is then the recipe's at the reference rank.
        lora_alpha=recipe.scale(rank) * first,
        lora_dropout=recipe.dropout,
        tinit=int(WARM_SHARE * steps),
        tfinal=int(FINAL_SHARE * steps),
        deltaT=max(1, steps // 1000),
        total_step=steps,
        target_modules=[linear.name for linear in describe_linears(model)],
    )


def make_ia3(model: Any) -> PeftConfig:
    """Configure (IA)³ [IA3]_ on keys, values and the channels of the MLP, in every family.

    PEFT's own table scales queries instead of keys in some families; the paper scales keys.
    """
    from peft import IA3Config

    family = find_family(model)
    outputs, inputs = family.keys_values, family.channel_columns
    linears = describe_linears(model)
    channels = [linear.name for linear in linears if linear.kind in inputs]
    scaled = [linear.name for linear in linears if linear.kind in outputs]
    return IA3Config(task_type=TASK, target_modules=[*scaled, *channels], feedforward_modules=channels)


def make_prompt(recipe: Recipe) -> PeftConfig:
    """Configure prompt tuning [PromptTuning]_, started at embeddings of tokens drawn from the vocabulary."""
    from peft import PromptTuningConfig

    return PromptTuningConfig(
        task_type=TASK, num_virtual_tokens=recipe.virtual_tokens, prompt_tuning_init="SAMPLE_VOCAB"
    )


def make_prefix(model: Any, recipe: Recipe) -> PeftConfig:
    """Configure prefix tuning [PrefixTuning]_ without a re-parametrisation, as [PTuning2]_.

    Raises:
        InputError: If key-value heads differ between blocks, or activations are to be recomputed.
    """
    from peft import PrefixTuningConfig

    if recipe.gradient_checkpointing:
        raise InputError(
            "Prefix tuning puts keys and values into the cache, which gradient_checkpointing turns off. Set "
            "gradient_checkpointing=False, or take another method."
        )
    shapes = {
        (block.kv_heads, block.head_dim) for block in describe_blocks(model) if block.kv_heads
    }  # a block without attention reads no prefix
    if len(shapes) != 1:
        counts = sorted(kv_heads for kv_heads, _ in shapes)
        found = f"from {counts[0]} to {counts[-1]} of them" if counts else "no block with attention"
        raise InputError(
            f"Prefix tuning stores the same number of key-value heads for every block; this model has "
            f"{found}. Take another method, or prune all blocks' heads alike."
        )
    ((heads, head_dim),) = shapes
    return PrefixTuningConfig(
        task_type=TASK,
        num_virtual_tokens=recipe.virtual_tokens,
        num_layers=1 + max(place for _, place in list_cache_places(model)),
        token_dim=heads * head_dim,
        num_attention_heads=heads,
    )


def fix_names(peft_model: PeftModel, targets: set[str]) -> None:
    """Write full names of modules into a configuration, which PEFT shortens to suffixes."""
    if targets:
        peft_model.peft_config[ADAPTER_NAME].target_modules = targets
