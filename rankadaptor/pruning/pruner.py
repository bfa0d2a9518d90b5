"""Prune a model: score its coupled groups or blocks, select, remove, and record the result."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Any

from rankadaptor.defaults import PRUNING
from rankadaptor.errors import InputError
from rankadaptor.model.blocks import choose_blocks
from rankadaptor.model.families import describe_blocks, find_family
from rankadaptor.model.finiteness import refuse_nonfinite_weights
from rankadaptor.model.identity import digest_model, forget_origin
from rankadaptor.model.quantisation import refuse_quantised
from rankadaptor.model.record import DEPTH_FIELDS, SCHEMA, read_pruning
from rankadaptor.pruning.aggregation import AGGREGATIONS, Array
from rankadaptor.pruning.depth import (
    BLOCKS,
    INFLUENCE,
    count_block_parameters,
    describe_remaining,
    list_removed,
    remove_blocks,
    score_blocks,
    select_blocks,
)
from rankadaptor.pruning.groups import TARGETS, CoupledGroups, find_groups
from rankadaptor.pruning.importance import needs_calibration, score_groups
from rankadaptor.pruning.selection import select_groups
from rankadaptor.pruning.surgery import remove_groups

logger = logging.getLogger(__name__)

Cut = Callable[[Any], dict[str, Any]]


def prune(
    model: Any,
    tokenizer: Any,
    *,
    ratio: float,
    calibration: Any = None,
    importance: str = PRUNING.importance,
    aggregation: str = PRUNING.aggregation,
    scope: str = PRUNING.scope,
    targets: Sequence[str] = PRUNING.targets,
    head_unit: str = PRUNING.head_unit,
    skip_first: int = PRUNING.skip_first,
    skip_last: int = PRUNING.skip_last,
    align: int = PRUNING.align,
    examples: int = PRUNING.examples,
    length: int = PRUNING.length,
    seed: int = 0,
    in_place: bool = False,
) -> Any:
    """Remove the least important heads and MLP channels, or whole blocks, of a causal LM [LLMPruner]_.

    The result is an ordinary transformers model of the same class: it generates, trains and takes PEFT
    adapters. `model.config.rankadaptor` records what was done; see `read_pruning`.

    Args:
        model: A supported causal language model, without adapters.
        tokenizer: Its tokenizer; needed by importances that use text.
        ratio: Share of the parameters in the targets (heads, channels) of the eligible blocks to remove, in
            (0, 1); with whole blocks, of the eligible blocks' parameters, rounded to whole blocks.
        calibration: Texts, rows, a file or `kit:NAME`, for importances that use text.
        importance: `param_first`, `param_second`, `param_mix`, `vectorwise`, `l1`, `l2`, `wanda`, `flap`,
            `random`; for whole blocks also `block_influence`.
        aggregation: How the linears of a group combine: `sum`, `mean`, `max`, `prod`, `first`.
        scope: `local` (every block loses the same share) or `global` (blocks compete); whole blocks always
            compete.
        targets: `heads`, `channels` or both; or `blocks` alone. To reduce depth and width, prune twice.
        head_unit: `kv_group` (a key-value head with its query heads) or `query_head` (equally many in each KV
            group).
        skip_first: Number of blocks at the start to leave unpruned.
        skip_last: Number of blocks at the end to leave unpruned.
        align: MLP widths become multiples of this.
        examples: Calibration windows.
        length: Tokens per window.
        seed: Seed of the calibration draw and of `random`.
        in_place: Prune the given model instead of a copy.

    Returns:
        The pruned model, in the train or eval mode of the given one.

    Raises:
        InputError: If a value is out of range, the architecture is not supported, or the ratio cannot be
            reached.
        NonFiniteError: If a weight, or a score that follows from it, is NaN or infinite; the message names
            its tensor.
    """
    family = find_family(model)
    if getattr(model, "peft_config", None):
        raise InputError(
            "The model carries an adapter. Merge it (merge_and_unload) or detach it, then prune."
        )
    refuse_quantised(model, verb="pruned")
    if not 0 < ratio < 1:
        raise InputError(
            f"ratio={ratio} is outside (0, 1). ratio=0.2 removes 20 % of the eligible blocks' structure."
        )
    if aggregation not in AGGREGATIONS:
        raise InputError(f"aggregation={aggregation!r}: allowed are {AGGREGATIONS}.")
    depth = check_targets(targets, importance=importance)
    refuse_nonfinite_weights(model, verb="pruned")
    searched = choose_blocks(len(describe_blocks(model)), skip_first=skip_first, skip_last=skip_last)
    sequences = None
    if calibration is not None and (importance == INFLUENCE or needs_calibration(importance)):
        from rankadaptor.pruning.calibration import make_calibration

        sequences = make_calibration(
            calibration, tokenizer, examples=examples, length=length, seed=seed, model=model
        )
    scoring = {"importance": importance, "aggregation": aggregation, "sequences": sequences, "seed": seed}
    if depth:
        cut = _plan_depth(model, searched, ratio=ratio, scoring=scoring)
    else:
        groups = find_groups(model, targets=targets, head_unit=head_unit, blocks=searched)
        cut = _plan_width(model, groups, ratio=ratio, scope=scope, align=align, scoring=scoring)
    base_digest, before = digest_model(model), model.num_parameters()
    pruned = model if in_place else copy.deepcopy(model)
    damage = cut(pruned)
    after = pruned.num_parameters()
    earlier = read_pruning(model) or {}
    name = str(getattr(model.config, "_name_or_path", "") or earlier.get("base") or "unnamed")
    if PurePath(name).is_absolute():  # absolute paths mean nothing on other machines
        name = PurePath(name).name
    forget_origin(pruned)  # adapters of the pruned model must not name the original as their base
    settings = {
        "ratio": ratio, "importance": importance, "aggregation": aggregation, "scope": scope,
        "targets": list(targets), "head_unit": head_unit, "skip_first": skip_first, "skip_last": skip_last,
        "align": align, "examples": examples, "length": length, "seed": seed,
    }  # fmt: skip
    pruned.config.rankadaptor = {
        "schema": SCHEMA,
        "digest": digest_model(pruned),
        "base": name,
        "base_digest": base_digest,
        "settings": settings,
        "achieved_ratio": 1 - after / before,
        "parameters_before": before,
        "parameters_after": after,
        **damage,
    }
    logger.info(
        "%s %s: %d -> %d parameters, %.1f %% removed",
        family.name,
        name,
        before,
        after,
        100 * (1 - after / before),
    )
    return pruned


def check_targets(targets: Sequence[str], *, importance: str) -> bool:
    """Check the targets and tell whether they are whole blocks.

    Raises:
        InputError: If a name is unknown, blocks are asked for together with parts of blocks, or the
            importance cannot score these targets.
    """
    allowed = (*TARGETS, BLOCKS)
    if isinstance(targets, str) or not targets or not set(targets) <= set(allowed):
        raise InputError(f"targets={targets!r}: give a list of at least one of {allowed}.")
    depth = BLOCKS in targets
    if depth and set(targets) != {BLOCKS}:
        raise InputError(
            f"targets={list(targets)}: whole blocks cannot be combined with parts of blocks. Prune "
            f"twice: first with targets=[{BLOCKS!r}], then the result with {list(TARGETS)}."
        )
    if importance == INFLUENCE and not depth:
        raise InputError(
            f"importance={INFLUENCE!r} scores whole blocks, but targets={list(targets)}. Give "
            f"targets=[{BLOCKS!r}], or another importance."
        )
    return depth


def _plan_depth(model: Any, searched: range, *, ratio: float, scoring: dict[str, Any]) -> Cut:
    scores = score_blocks(model, **scoring)
    removed = select_blocks(scores, count_block_parameters(model), ratio=ratio, searched=searched)
    earlier = read_pruning(model)
    logger.info("removing blocks %s by %s", list(removed), scoring["importance"])

    def cut(pruned: Any) -> dict[str, Any]:
        remove_blocks(pruned, removed)
        lines = describe_remaining(pruned, scores, removed, earlier["blocks"] if earlier else None)
        return {"blocks": lines, "removed_blocks": list_removed(removed, earlier)}

    return cut


def _plan_width(
    model: Any,
    groups: Sequence[CoupledGroups],
    *,
    ratio: float,
    scope: str,
    align: int,
    scoring: dict[str, Any],
) -> Cut:
    scores = score_groups(model, groups, **scoring)
    standardise = scoring["importance"] == "flap"
    removed = select_groups(groups, scores, ratio=ratio, scope=scope, align=align, standardise=standardise)
    earlier = read_pruning(model)

    def cut(pruned: Any) -> dict[str, Any]:
        remove_groups(pruned, groups, removed)
        damage: dict[str, Any] = {"blocks": describe_damage(pruned, groups, scores, removed, earlier)}
        if earlier and "removed_blocks" in earlier:
            damage["removed_blocks"] = earlier["removed_blocks"]
        return damage

    return cut


def describe_damage(
    pruned: Any,
    groups: Sequence[CoupledGroups],
    scores: Sequence[Array],
    removed: Sequence[Sequence[int]],
    earlier: dict[str, Any] | None,
) -> list[dict[str, Any]]:
    """Describe the blocks of a model whose groups were cut; see `read_pruning`.

    Args:
        pruned: The model without the groups.
        groups: Coupled groups of the model before pruning.
        scores: One array of scores for each entry of `groups`.
        removed: Indices of the removed groups for each entry of `groups`.
        earlier: The earlier pruning record, or None.
    """
    totals = {
        target: sum(float(s.sum()) for e, s in zip(groups, scores, strict=True) if e.target == target)
        for target in {entry.target for entry in groups}
    }
    lines = []
    for shape in describe_blocks(pruned):
        parameters = gone = importance = lost = 0.0
        for entry, score, indices in zip(groups, scores, removed, strict=True):
            if entry.block != shape.block:
                continue
            parameters += entry.count * entry.parameters
            gone += len(indices) * entry.parameters
            # Shares of each target's total, so that heads and channels have equal weight in any unit of the
            # score.
            weight = 1 / (totals[entry.target] or 1.0)
            importance += weight * float(score.sum())
            lost += weight * float(score[list(indices)].sum())
        old: dict[str, Any] = {}
        share, part = gone / parameters if parameters else 0.0, lost / importance if importance else 0.0
        if earlier is not None:  # pruned before: both shares refer to the original model
            old = earlier["blocks"][shape.block]
            share = 1 - (1 - old["removed_share"]) * (1 - share)
            part = 1 - (1 - old["lost_importance"]) * (1 - part)
        lines.append(
            {
                "block": shape.block,
                "heads": shape.heads,
                "kv_heads": shape.kv_heads,
                "channels": shape.channels,
                "removed_share": share,
                "lost_importance": part,
                **{name: old[name] for name in DEPTH_FIELDS if name in old},
            }
        )
    return lines
