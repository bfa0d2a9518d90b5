"""How many parameters each method of recovery trains, from a model's sizes alone. No torch import."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankadaptor.methods import Method, choose_first_rank
from rankadaptor.recipe import Recipe

if TYPE_CHECKING:
    from rankadaptor.config import RunConfig
    from rankadaptor.planning.shape import ModelShape

SCALED = ("k_proj", "v_proj")
ENDS = ("o_proj", "down_proj")


def count_trainable(method: Method, shape: ModelShape, *, rank: int) -> int:
    """Count the parameters that a method trains on a model; biases of full fine-tuning are not counted.

    Args:
        method: The method.
        shape: The model's sizes.
        rank: Rank of every linear, where the method has low-rank factors. AdaLoRA trains more than it keeps:
            the parameters of its first ranks are counted.
    """
    recipe = Recipe()
    widths = sum(each.in_features + each.out_features for each in shape.linears)
    rows = sum(each.out_features for each in shape.linears)
    embeddings = shape.hidden * shape.vocabulary * (1 if shape.tied else 2)
    first = choose_first_rank(rank)
    ends = [each.out_features for each in shape.linears if each.kind in ENDS]
    inner = recipe.bottleneck_width
    scaled = sum(each.out_features for each in shape.linears if each.kind in SCALED)
    keys = [block.kv_heads * shape.head_dim for block in shape.blocks]
    counts = {
        "lora": rank * widths,
        "rslora": rank * widths,
        "qlora": rank * widths,
        "dora": rank * widths + rows,
        "adalora": first * (widths + len(shape.linears)),
        "ia3": scaled + sum(block.channels for block in shape.blocks),
        "prompt_tuning": recipe.virtual_tokens * shape.hidden,
        "prefix_tuning": recipe.virtual_tokens * 2 * sum(keys),
        "bottleneck": sum(2 * width * inner + inner + width for width in ends),
        "full": shape.parameters,
        "full_frozen_embeddings": shape.parameters - embeddings,
    }
    return counts[method.name]


def count_training_parameters(method: Method, shape: ModelShape, *, rank: int) -> int:
    """Count the parameters of an adapter that needs as many operations as a method does.

    A trained weight of the model needs only its own gradient beside what a frozen one needs, a third of the
    operations of an adapter's parameter.
    """
    count = count_trainable(method, shape, rank=rank)
    return count // 3 if method.whole else count


def count_lengths(config: RunConfig, shape: ModelShape) -> int:
    """Count what a rank search's method trains beside the factors of its ranks: the lengths of DoRA."""
    return sum(each.out_features for each in shape.linears) if config.recover.method == "dora" else 0
