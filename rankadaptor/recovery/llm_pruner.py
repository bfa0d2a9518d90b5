"""LLM-Pruner's recipe: how it prunes and recovers, from its script and README [LLMPruner]_.

It is what a user of LLM-Pruner has, and so what other recoveries are compared with at equal tokens.
"""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import Any

from rankadaptor.errors import InputError
from rankadaptor.recipe import Recipe

PRUNING: MappingProxyType[str, Any] = MappingProxyType(
    {
        "importance": "param_first",
        "aggregation": "sum",
        "scope": "local",
        "targets": ("heads", "channels"),
        "head_unit": "kv_group",
        "examples": 10,
        "length": 64,
    }
)
"""Arguments of `prune`: Taylor importance of first order on ten windows of 64 tokens, the same share of every
block. Its script leaves the first four and the last two of 32 blocks whole (`skip_first`, `skip_last`)."""
NAME = "llm_pruner"
RANK, BATCH, EPOCHS, CUT_LENGTH = 8, 64, 2, 256
"""LoRA rank, rows per step, passes over the instruction rows, tokens at which a row is cut."""
MICRO_BATCH = 4


def make_llm_pruner_recipe(*, rows: int | None = None, steps: int | None = None) -> Recipe:
    """Return LLM-Pruner's recovery: LoRA of rank 8 with alpha 16, rate 1e-4, 64 rows a step.

    Differences: the rate falls linearly to a tenth instead of zero, and rises over 6 % of the steps, as its
    100 steps are of the 1,553 that 49,700 rows take.

    Args:
        rows: Instruction rows, which are passed through twice.
        steps: Optimiser steps, in place of two passes.

    Raises:
        InputError: If neither or both are given, or one is not positive.
    """
    if (rows is None) == (steps is None) or (rows or steps or 0) < 1:
        raise InputError(f"rows={rows}, steps={steps}: give one of them, at least 1.")
    if steps is None:
        assert rows is not None
        steps = math.ceil(EPOCHS * rows / BATCH)
    return Recipe(
        learning_rate=1e-4,
        scale_at_reference=2.0,
        reference_rank=RANK,
        batch_size=BATCH,
        micro_batch_size=MICRO_BATCH,
        sequence_length=CUT_LENGTH,
        steps=steps,
        warmup_share=0.06,
        schedule="linear",
        dropout=0.05,
    )


def find_preset(name: str, *, rows: int) -> Recipe:
    """Return a recipe by its name.

    Args:
        name: `llm_pruner`.
        rows: Training rows.

    Raises:
        InputError: If there is no recipe of that name.
    """
    if name != NAME:
        raise InputError(f"recipe={name!r}: the only recipe with a name is {NAME!r}. Or give a Recipe.")
    return make_llm_pruner_recipe(rows=rows)
