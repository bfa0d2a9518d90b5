"""An allocation as one PEFT adapter: configuration, nested initialisation, and complete removal."""

from __future__ import annotations

import contextlib
import hashlib
import math
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer

from rankadaptor.components.adapter import read_ranks, read_scales
from rankadaptor.components.adapter.lora.folder import remember_base
from rankadaptor.errors import InputError
from rankadaptor.methods import Method, explain_no_ranks, find_method, list_ranked
from rankadaptor.recipe import RSLORA

if TYPE_CHECKING:
    from rankadaptor.recipe import Recipe
    from rankadaptor.space import Allocation

ADAPTER_NAME = "default"
DORA = "dora"


def lora_config(allocation: Allocation, recipe: Recipe) -> LoraConfig:
    """Write an allocation as one `LoraConfig` that plain PEFT reads.

    Every adapted linear is listed in `target_modules`, `rank_pattern` and `alpha_pattern` with its full name,
    so that the default rank and alpha are never used. A linear of rank 0 is not a target.

    Raises:
        InputError: If all ranks are 0.
    """
    method = find_method(recipe.method)
    if not method.ranks:
        raise InputError(refuse_ranks(method))
    ranks = {name: rank for name, rank in read_ranks(allocation).items() if rank > 0}
    if not ranks:
        raise InputError(
            "This allocation gives every linear rank 0, so there is nothing to train. "
            "Give at least one slot a positive rank."
        )
    factors = read_scales(allocation)
    divisors = {name: math.sqrt(rank) if recipe.method == RSLORA else rank for name, rank in ranks.items()}
    alphas = {
        name: recipe.scale(rank) * divisors[name] * factors.get(name, 1.0) for name, rank in ranks.items()
    }
    keys = {name: _write_pattern_key(name) for name in sorted(ranks, key=len, reverse=True)}
    widest = max(ranks, key=ranks.__getitem__)
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=ranks[widest],
        lora_alpha=alphas[widest],
        lora_dropout=recipe.dropout,
        target_modules=sorted(ranks),
        rank_pattern={key: ranks[name] for name, key in keys.items()},
        alpha_pattern={key: alphas[name] for name, key in keys.items()},
        bias="none",
        use_rslora=recipe.method == RSLORA,
        use_dora=recipe.method == DORA,
    )


def refuse_ranks(method: Method) -> str:
    """Say why an allocation of ranks does not go with a method, and what to do."""
    return (
        f"An allocation of ranks was given, but {explain_no_ranks(method)}. Give no allocation, or take one "
        f"of {list_ranked()}."
    )


def _write_pattern_key(name: str) -> str:
    r"""Write a module name as a PEFT pattern key.

    PEFT reads keys as regular expressions, `(.*\.)?(KEY)$`. The dots of a name match themselves and are not
    escaped, so that names stay readable in `adapter_config.json`; other special characters are escaped. Where
    one name is a suffix of another, the order of the keys decides: PEFT uses the first match, so that longer
    keys are written first.
    """
    escaped = re.escape(name)
    return name if escaped.replace(r"\.", ".") == name else escaped


def attach_adapter(model: Any, allocation: Allocation, recipe: Recipe, *, seed: int) -> PeftModel:
    """Attach an untrained adapter to `model`, in place; adapters with the same seed are nested.

    The rows of each linear's A are drawn one after the other from a generator that depends only on `seed` and
    the linear's name. Two allocations with the same seed therefore share the leading rows of every A, so that
    the difference of their losses is not due to different initialisations. The distribution is PEFT's default
    (Kaiming-uniform with a = √5); B is 0. Adapter weights are float32 also on a bfloat16 model.

    Args:
        model: A causal language model without an adapter; its weights are frozen until `detach_adapter`.
        allocation: Ranks for linears of `model`.
        recipe: Gives scale and dropout.
        seed: Seed of the initialisation.

    Raises:
        InputError: If the allocation names linears that `model` does not have, or all its ranks are 0.
    """
    refuse_adapter(model)
    config = lora_config(allocation, recipe)
    ranks = {name: rank for name, rank in read_ranks(allocation).items() if rank > 0}
    _check_linears(model, ranks)
    flags = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    peft_model = None
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")  # raised inside PEFT
            peft_model = get_peft_model(model, config)
        # PEFT shortens long target lists to suffixes; full names keep their meaning on any base model.
        peft_model.peft_config[ADAPTER_NAME].target_modules = set(ranks)
        peft_model.flags_before = flags
        remember_base(peft_model, model)
        _start_nested(peft_model, ranks, seed=seed)
    except BaseException:
        if peft_model is not None:
            peft_model.unload()
        restore_flags(model, flags)
        raise
    return peft_model


def refuse_adapter(model: Any) -> None:
    """Refuse a model that carries an adapter.

    Raises:
        InputError: If it does.
    """
    if isinstance(model, PeftModel) or any(isinstance(module, BaseTunerLayer) for module in model.modules()):
        raise InputError(
            "This model carries an adapter already. Call detach_adapter on it first, or merge it."
        )


def detach_adapter(peft_model: PeftModel) -> Any:
    """Remove the adapter and return the original model: the same object, weights and `requires_grad`."""
    flags: dict[str, bool] = getattr(peft_model, "flags_before", {})
    model = peft_model.unload()
    restore_flags(model, flags)
    return model


@contextlib.contextmanager
def adapt_temporarily(
    model: Any, allocation: Allocation, recipe: Recipe, *, seed: int
) -> Iterator[PeftModel]:
    """Attach an adapter for a `with` block; the model is restored afterwards, also after an error."""
    was_training = model.training
    peft_model = attach_adapter(model, allocation, recipe, seed=seed)
    try:
        yield peft_model
    finally:
        detach_adapter(peft_model).train(was_training)


def list_adapter_parameters(peft_model: Any) -> dict[str, torch.nn.Parameter]:
    """Return the trainable parameters by name, in the model's order."""
    return {name: value for name, value in peft_model.named_parameters() if value.requires_grad}


def _check_linears(model: Any, ranks: dict[str, int]) -> None:
    linears = {name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    missing = [name for name in ranks if name not in linears]
    if missing:
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise InputError(
            f"The allocation gives ranks to {shown}, but the model has no such linear. "
            "Build the space from this model with RankSpace.from_model."
        )


def _start_nested(peft_model: PeftModel, ranks: dict[str, int], *, seed: int) -> None:
    found = {
        name: module
        for name, module in peft_model.get_base_model().named_modules()
        if isinstance(module, LoraLayer)
    }
    wrong = sorted(set(found) ^ set(ranks))
    wrong += [name for name in ranks if name in found and found[name].r[ADAPTER_NAME] != ranks[name]]
    if wrong:
        raise InputError(
            f"PEFT did not adapt exactly the linears of the allocation (first difference: {wrong[0]}). "
            "The name of one linear of this model is a suffix of another's; leave one out of the space."
        )
    with torch.no_grad():
        for name, rank in ranks.items():
            down = found[name].lora_A[ADAPTER_NAME].weight
            up = found[name].lora_B[ADAPTER_NAME].weight
            down.data = draw_down_rows(name, rank, down.shape[1], seed=seed).to(down.device)
            up.data = torch.zeros_like(up, dtype=torch.float32)


def draw_down_rows(name: str, rank: int, in_features: int, *, seed: int) -> torch.Tensor:
    """Draw the first rows of a linear's A, `(rank, in_features)`; a larger rank keeps the earlier rows."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
    bound = 1.0 / math.sqrt(in_features)
    rows = [torch.rand(in_features, generator=generator, dtype=torch.float32) for _ in range(rank)]
    return torch.stack(rows).mul_(2 * bound).sub_(bound)


def restore_flags(model: Any, flags: Mapping[str, bool]) -> None:
    """Set `requires_grad` of parameters by name, and drop all gradients."""
    for name, parameter in model.named_parameters():
        if name in flags:
            parameter.requires_grad_(flags[name])
        parameter.grad = None
