"""Select the groups to remove: the same share of every block, or the least important of all blocks."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rankadaptor.errors import InputError
from rankadaptor.pruning.aggregation import Array
from rankadaptor.pruning.groups import CoupledGroups

logger = logging.getLogger(__name__)

SCOPES = ("local", "global")
TOLERANCE = 0.02


@dataclass(frozen=True)
class Queue:
    """The removable groups of one block and target, least important first, in steps that keep it valid.

    Attributes:
        groups: The groups to remove from.
        steps: Group indices of each step. A step removes one head from every partition, or as many channels
            as keep the width aligned.
    """

    groups: CoupledGroups
    steps: tuple[tuple[int, ...], ...]

    def cost(self, step: int) -> int:
        """Parameters that step number `step` removes."""
        return len(self.steps[step]) * self.groups.parameters

    def removed(self, count: int) -> tuple[int, ...]:
        """Indices of the groups that the first `count` steps remove, ascending."""
        return tuple(sorted(index for step in self.steps[:count] for index in step))


def make_queue(groups: CoupledGroups, scores: Array, *, align: int) -> Queue:
    """Order one block's groups for removal; at least one head per partition and `align` channels are kept."""
    if groups.target == "heads":
        per_partition = groups.count // groups.partitions
        order = np.argsort(scores.reshape(groups.partitions, per_partition), axis=1, kind="stable")
        order = order + np.arange(groups.partitions)[:, None] * per_partition
        steps = [tuple(int(index) for index in order[:, step]) for step in range(per_partition - 1)]
    else:
        ranking = [int(index) for index in np.argsort(scores, kind="stable")]
        edges = list(range(groups.count % align or align, groups.count - align + 1, align))
        steps = [tuple(ranking[start:end]) for start, end in zip([0, *edges], edges, strict=False)]
    return Queue(groups, tuple(steps))


def select_groups(
    groups: Sequence[CoupledGroups],
    scores: Sequence[Array],
    *,
    ratio: float,
    scope: str = "local",
    align: int = 8,
    standardise: bool = False,
) -> list[tuple[int, ...]]:
    """Choose groups that hold `ratio` of the parameters of all given groups.

    `local` removes this share from every block: first the nearest whole number of heads, then as many
    channels as compensate for the rounding. `global` removes the groups of lowest relative importance in any
    block. Relative importance is the score divided by the mean score of its target over all blocks. Within a
    target all groups have the same number of parameters, so heads and channels compete per parameter,
    whatever the unit of their scores. Scores are not normalised per block, so an unimportant block loses
    more. With `standardise` (FLAP) it is the z-score within block and target instead.

    Args:
        groups: Coupled groups of the eligible blocks.
        scores: One array `(count,)` for each.
        ratio: Share to remove, in (0, 1).
        scope: `local` or `global`.
        align: Channel counts become multiples of this.
        standardise: Rank z-scores within block and target.

    Returns:
        For each entry of `groups`, the indices to remove, ascending.

    Raises:
        InputError: If a value is out of range or the ratio cannot be reached.
    """
    if not 0 < ratio < 1:
        raise InputError(
            f"ratio={ratio} is outside (0, 1). ratio=0.2 removes 20 % of the eligible blocks' structure."
        )
    if scope not in SCOPES:
        raise InputError(f"scope={scope!r}: allowed are {SCOPES}.")
    if align < 1:
        raise InputError(f"align={align}: must be at least 1 (no alignment); 8 suits most processors.")
    queues = [make_queue(entry, score, align=align) for entry, score in zip(groups, scores, strict=True)]
    total = sum(entry.count * entry.parameters for entry in groups)
    _check_reachable(queues, ratio, total)
    if scope == "local":
        counts = _select_local(queues, ratio)
    else:
        counts = _select_global(queues, _rank_relative(groups, scores, standardise), ratio * total)
    removed = sum(
        queue.cost(step) for queue, count in zip(queues, counts, strict=True) for step in range(count)
    )
    if not removed:
        smallest = min(queue.cost(0) for queue in queues if queue.steps)
        raise InputError(
            f"ratio={ratio} is unreachable: it rounds to nothing; the smallest step is "
            f"{smallest / total:.4f}. Raise the ratio, lower align, or prune channels as well as heads."
        )
    if abs(removed / total - ratio) > TOLERANCE:
        logger.warning(
            "whole heads and aligned widths allow %.1f %% instead of %.1f %% here",
            100 * removed / total,
            100 * ratio,
        )
    return [queue.removed(count) for queue, count in zip(queues, counts, strict=True)]


def _check_reachable(queues: Sequence[Queue], ratio: float, total: int) -> None:
    costs = [queue.cost(step) for queue in queues for step in range(len(queue.steps))]
    most = sum(costs)
    if not costs or ratio * total > most + max(costs) / 2:
        raise InputError(
            f"ratio={ratio} is unreachable: at most {most / total:.4f} of the eligible parameters can be "
            "removed, because each block keeps `align` channels and one KV group, or one query head in each. "
            "Lower the ratio or align, prune both heads and channels, or use head_unit='query_head' where a "
            "block has a single KV head."
        )


def _select_local(queues: Sequence[Queue], ratio: float) -> list[int]:
    counts = [0] * len(queues)
    for block in sorted({queue.groups.block for queue in queues}):
        here = [index for index, queue in enumerate(queues) if queue.groups.block == block]
        wanted = ratio * sum(queues[index].groups.count * queues[index].groups.parameters for index in here)
        for index in sorted(here, key=lambda index: queues[index].groups.target == "channels"):
            queue = queues[index]
            own = ratio * queue.groups.count * queue.groups.parameters
            last = index == here[-1]
            counts[index] = _take_nearest(queue, wanted if last else own)
            wanted -= sum(queue.cost(step) for step in range(counts[index]))
    return counts


def _take_nearest(queue: Queue, wanted: float) -> int:
    count, removed = 0, 0
    while count < len(queue.steps) and removed + queue.cost(count) / 2 < wanted:
        removed += queue.cost(count)
        count += 1
    return count


def _rank_relative(
    groups: Sequence[CoupledGroups], scores: Sequence[Array], standardise: bool
) -> list[Array]:
    if standardise:
        return [(score - score.mean()) / (score.std() or 1.0) for score in scores]
    means = {}
    for target in {entry.target for entry in groups}:
        mean = np.concatenate([s for e, s in zip(groups, scores, strict=True) if e.target == target]).mean()
        means[target] = mean or 1.0
    return [score / means[entry.target] for entry, score in zip(groups, scores, strict=True)]


def _select_global(queues: Sequence[Queue], relative: Sequence[Array], wanted: float) -> list[int]:
    steps = [
        (float(relative[index][list(members)].mean()), index, step)
        for index, queue in enumerate(queues)
        for step, members in enumerate(queue.steps)
    ]
    counts, removed, closed = [0] * len(queues), 0, set()
    for _, index, step in sorted(steps):
        cost = queues[index].cost(step)
        if index in closed:
            continue
        if removed + cost / 2 >= wanted:
            closed.add(index)
            continue
        counts[index] = step + 1
        removed += cost
    return counts
