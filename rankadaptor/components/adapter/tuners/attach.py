"""A recipe's method attached to a model: what it trains has a gradient afterwards, the rest has none."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch

from rankadaptor.components.adapter.bottleneck import attach_bottlenecks
from rankadaptor.components.adapter.lora.attach import (
    attach_adapter,
    refuse_adapter,
    refuse_ranks,
    restore_flags,
)
from rankadaptor.components.adapter.lora.folder import remember_base
from rankadaptor.components.adapter.ranks import RankSpace
from rankadaptor.components.adapter.tuners.configs import PREFIX_SPREAD, fix_names, make_config
from rankadaptor.errors import InputError
from rankadaptor.methods import QLORA, Method, find_method
from rankadaptor.model.quantisation import is_quantised

if TYPE_CHECKING:
    from peft import PeftModel

    from rankadaptor.recipe import Recipe
    from rankadaptor.space import Allocation


def attach_method(
    model: Any, recipe: Recipe, *, allocation: Allocation | None = None, steps: int, seed: int
) -> Any:
    """Attach what a recipe's method trains, in place.

    What is trained is held in float32, also on a bfloat16 model. An untrained adapter changes no output,
    except of prompt and prefix tuning, whose virtual tokens are seen at once.

    Args:
        model: A causal language model without an adapter.
        recipe: Method, scale, sizes.
        allocation: A rank per linear, for the methods that have one; the recipe's reference rank everywhere
            by default.
        steps: Optimiser steps of the fine-tune that follows.
        seed: Seed of the initialisation.

    Returns:
        A PEFT model; a `BottleneckModel`; or `model` itself where its own weights are trained, then in
        float32.

    Raises:
        InputError: If the method does not go with the model, the allocation or the steps.
    """
    method = find_method(recipe.method)
    refuse_adapter(model)
    _check_precision(model, method)
    if method.ranks:
        allocation = allocation if allocation is not None else _allocate_uniformly(model, recipe)
        return attach_adapter(model, allocation, recipe, seed=seed)
    if allocation is not None:
        raise InputError(refuse_ranks(method))
    if method.whole:
        return free_weights(model, embeddings=method.name == "full")
    if method.name == "bottleneck":
        return attach_bottlenecks(model, width=recipe.bottleneck_width, seed=seed)
    return _attach_peft(model, recipe, steps=steps, seed=seed)


def free_weights(model: Any, *, embeddings: bool) -> Any:
    """Let a model's own weights be trained, in float32, where small updates are not rounded away.

    Args:
        model: A causal language model; changed in place.
        embeddings: Whether the input embedding and the output head are trained too.
    """
    model.float()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    if not embeddings:
        for module in (model.get_input_embeddings(), model.get_output_embeddings()):
            module.requires_grad_(False)
    return model


def _attach_peft(model: Any, recipe: Recipe, *, steps: int, seed: int) -> PeftModel:
    from peft import get_peft_model

    config = make_config(model, recipe, steps=steps)
    targets = set(getattr(config, "target_modules", None) or ())
    flags = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")  # raised inside PEFT
            torch.manual_seed(seed)
            peft_model = get_peft_model(model, config)
            if recipe.method == "prefix_tuning":
                for encoder in peft_model.prompt_encoder.values():
                    torch.nn.init.normal_(encoder.embedding.weight, std=PREFIX_SPREAD)
    except BaseException:
        restore_flags(model, flags)
        raise
    fix_names(peft_model, targets)
    for parameter in peft_model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    peft_model.flags_before = flags
    return remember_base(peft_model, model)


def _allocate_uniformly(model: Any, recipe: Recipe) -> Allocation:
    return RankSpace.from_model(model, like_uniform=recipe.reference_rank).reference()


def _check_precision(model: Any, method: Method) -> None:
    """Check that the model's precision is one that the method trains on.

    Raises:
        InputError: If it is not.
    """
    if method.name == QLORA and not getattr(model, "is_loaded_in_4bit", False):
        raise InputError(
            "QLoRA trains on frozen linears held in 4 bits, and this model's are not. Load it with "
            "load(..., quantise='nf4'), or take method='lora'."
        )
    if method.whole and is_quantised(model):
        raise InputError(
            f"{method.title} trains the model's own weights, and this model's are quantised, which have no "
            "gradient. Load it without quantise, or take method='qlora'."
        )
