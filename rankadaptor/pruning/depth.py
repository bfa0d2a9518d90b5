"""Depth pruning: whole decoder blocks are removed, and the remaining blocks keep their widths."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rankadaptor.errors import InputError
from rankadaptor.model.dropped import set_cache_places
from rankadaptor.model.families import describe_blocks, find_blocks
from rankadaptor.pruning.aggregation import Array
from rankadaptor.pruning.groups import find_groups
from rankadaptor.pruning.importance import IMPORTANCES, score_groups
from rankadaptor.pruning.surgery import write_shapes

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

BLOCKS = "blocks"
INFLUENCE = "block_influence"
BLOCK_IMPORTANCES = (*IMPORTANCES, INFLUENCE)
LAYER_LISTS = ("layer_types",)


def score_blocks(
    model: Any,
    *,
    importance: str,
    aggregation: str = "sum",
    sequences: torch.Tensor | None = None,
    seed: int = 0,
) -> Array:
    """Score every block as a whole; blocks with low scores are removed first.

    `block_influence` is measured on the hidden states (see `measure_influence`); `random` draws one number
    per block; every other importance is the sum over all heads and channels of the block.

    Args:
        model: A supported causal language model.
        importance: `block_influence` or one that `score_groups` knows.
        aggregation: How the linears of a group combine, for the sums.
        sequences: Calibration token ids `(sequences, length)`, for importances that need text.
        seed: Seed of `random`.

    Returns:
        Scores `(blocks,)`, at least zero.

    Raises:
        InputError: If a name is unknown or calibration is missing.
    """
    if importance not in BLOCK_IMPORTANCES:
        raise InputError(f"importance={importance!r}: allowed are {', '.join(BLOCK_IMPORTANCES)}.")
    count = len(find_blocks(model))
    if importance == INFLUENCE:
        from rankadaptor.pruning.influence import measure_influence

        if sequences is None:
            raise InputError(
                f"importance={INFLUENCE!r} needs text, but calibration is None. Give calibration=texts, a "
                "file or 'kit:c4', or choose 'l1', 'l2' or 'random'."
            )
        return measure_influence(model, sequences)
    if importance == "random":
        return np.random.default_rng(seed).random(count)
    groups = find_groups(model)
    scores = score_groups(
        model, groups, importance=importance, aggregation=aggregation, sequences=sequences, seed=seed
    )
    sums = np.zeros(count)
    for entry, score in zip(groups, scores, strict=True):
        sums[entry.block] += score.sum()
    return sums


def select_blocks(
    scores: Array, sizes: Sequence[int], *, ratio: float, searched: Collection[int]
) -> tuple[int, ...]:
    """Choose the lowest-scoring blocks so that about `ratio` of the eligible blocks' parameters is removed.

    Args:
        scores: One score per block of the model, `(blocks,)`.
        sizes: Parameters of each block.
        ratio: Share to remove, in (0, 1); rounded to the nearest whole number of blocks.
        searched: Indices of the blocks that may be removed.

    Returns:
        Indices of the blocks to remove, ascending. At least one block of the model is kept.

    Raises:
        InputError: If the ratio cannot be reached or rounds to nothing.
    """
    order = sorted(searched, key=lambda index: (scores[index], index))
    total = sum(sizes[index] for index in order)
    if len(order) == len(sizes):
        order = order[:-1]
    wanted, removed, count = ratio * total, 0, 0
    while count < len(order) and removed + sizes[order[count]] / 2 < wanted:
        removed += sizes[order[count]]
        count += 1
    if count == len(order) and removed + max(sizes) / 2 < wanted:
        raise InputError(
            f"ratio={ratio} is unreachable: at most {removed / total:.4f} of the eligible blocks can be "
            "removed, because one block is kept. Lower the ratio."
        )
    if not count:
        raise InputError(
            f"ratio={ratio} is unreachable: it rounds to no block; one block is about "
            f"{1 / len(searched):.4f} of those searched. Raise the ratio, or prune heads and channels."
        )
    if abs(removed - wanted) > 0.02 * total:
        logger.warning(
            "whole blocks allow %.1f %% instead of %.1f %% here", 100 * removed / total, 100 * ratio
        )
    return tuple(sorted(order[:count]))


def count_block_parameters(model: Any) -> list[int]:
    """Count the parameters of each block, norms included."""
    return [sum(parameter.numel() for parameter in block.parameters()) for block in find_blocks(model)]


def remove_blocks(model: Any, removed: Collection[int]) -> None:
    """Remove whole blocks and update modules and configuration.

    The remaining blocks are renumbered, also in their attention modules, where the number is the index in the
    key-value cache. Lists with one entry per block, such as `layer_types`, lose the same entries.

    Args:
        model: The model; changed in place.
        removed: Indices of the blocks to remove.
    """
    blocks, config = find_blocks(model), model.config
    kept = [index for index in range(len(blocks)) if index not in removed]
    for index in sorted(removed, reverse=True):
        del blocks[index]
    for index, block in enumerate(blocks):
        for part in block.modules():
            if getattr(part, "layer_idx", None) is not None:
                part.layer_idx = index
    config.per_layer_config = None  # it has the old indices
    lists = {name: list(found) for name in LAYER_LISTS if (found := getattr(config, name, None))}
    config.num_hidden_layers = len(kept)
    for name, entries in lists.items():
        setattr(config, name, [entries[index] for index in kept])
    set_cache_places(model)
    write_shapes(model)


def describe_remaining(
    pruned: Any, scores: Array, removed: Collection[int], earlier: Sequence[dict[str, Any]] | None
) -> list[dict[str, Any]]:
    """Describe the remaining blocks, each with the importance of the blocks removed directly before it.

    A remaining block is not cut itself, so its `removed_share` does not change. Its `lost_importance` is the
    share of importance that was removed from the group made up of the block and the removed blocks directly
    before it. Blocks removed after the last remaining one are counted for that one.

    Args:
        pruned: The model without the removed blocks.
        scores: Score of every block before removal, `(blocks,)`.
        removed: Indices of the removed blocks in the model before removal.
        earlier: `blocks` of an earlier pruning record, or None.

    Returns:
        One entry per remaining block, as in `read_pruning`.
    """
    entries, previous = [], -1
    kept = [index for index in range(len(scores)) if index not in removed]
    for shape, index in zip(describe_blocks(pruned), kept, strict=True):
        end = len(scores) if index == kept[-1] else index
        gone = [other for other in removed if previous < other < end]
        previous = index
        old = earlier[index] if earlier is not None else {}
        # A score refers to what is left of a block; divided by the remaining share it refers to the whole
        # block.
        whole = sum(_undo_loss(scores[other], earlier, other) for other in (index, *gone))
        lost = 1 - float(scores[index]) / whole if whole else float(old.get("lost_importance", 0.0))
        entries.append(
            {
                "block": shape.block,
                "heads": shape.heads,
                "kv_heads": shape.kv_heads,
                "channels": shape.channels,
                "removed_share": float(old.get("removed_share", 0.0)),
                "lost_importance": lost,
                "original": int(old.get("original", index)),
                "lost_neighbours": int(old.get("lost_neighbours", 0))
                + sum(1 + _get_neighbours(earlier, other) for other in gone),
            }
        )
    return entries


def list_removed(removed: Collection[int], earlier: dict[str, Any] | None) -> list[int]:
    """List the indices, in the original model, of all blocks removed now or earlier."""
    if earlier is None:
        return sorted(removed)
    numbers = [entry.get("original", entry["block"]) for entry in earlier["blocks"]]
    return sorted([*earlier.get("removed_blocks", []), *(numbers[index] for index in removed)])


def _undo_loss(score: float, earlier: Sequence[dict[str, Any]] | None, index: int) -> float:
    left = 1 - float(earlier[index]["lost_importance"]) if earlier is not None else 1.0
    return float(score) / left if left > 0 else float(score)


def _get_neighbours(earlier: Sequence[dict[str, Any]] | None, index: int) -> int:
    return int(earlier[index].get("lost_neighbours", 0)) if earlier is not None else 0
