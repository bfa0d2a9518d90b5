"""Hidden states of a model that reads virtual tokens before the text: prompt and prefix tuning [PEFT]_."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from rankadaptor.training.packed_model import get_causal_lm


def has_virtual_tokens(model: Any) -> bool:
    """Tell whether a model carries an adapter made of virtual tokens."""
    config = getattr(model, "active_peft_config", None)
    return bool(getattr(config, "is_prompt_learning", False))


def compute_hidden_after(model: Any, input_ids: torch.Tensor) -> torch.Tensor:
    """Return the last hidden states of a text behind its virtual tokens.

    The steps are those of PEFT's own forward pass without the output head, so that logits are only computed
    where a label follows.

    Args:
        model: A PEFT model with prompt or prefix tuning.
        input_ids: `(n, length)`.

    Returns:
        `(n, length, hidden)`; those of the virtual tokens are left out.
    """
    inner = get_causal_lm(model).base_model
    count = len(input_ids)
    if model.active_peft_config.peft_type == "PREFIX_TUNING":
        given = {_name_cache(inner): model.get_prompt(count, max_cache_len=input_ids.shape[1])}
        prefixed: torch.Tensor = inner(input_ids=input_ids, use_cache=False, **given)[0]
        return prefixed
    embedded = model.word_embeddings(input_ids)
    prompts = model.get_prompt(batch_size=count).to(embedded.dtype)
    hidden: torch.Tensor = inner(inputs_embeds=torch.cat((prompts, embedded), dim=1), use_cache=False)[0]
    return hidden[:, prompts.shape[1] :]


def _name_cache(inner: Any) -> str:
    """Return the name of the argument that takes the cache: transformers renames it in 5.24."""
    return "cache" if "cache" in inspect.signature(inner.forward).parameters else "past_key_values"
