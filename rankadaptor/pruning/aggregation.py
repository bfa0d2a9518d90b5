"""Combine scores of rows and columns into one score per coupled group."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from rankadaptor.errors import InputError

if TYPE_CHECKING:
    from rankadaptor.pruning.groups import CoupledGroups

Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

AGGREGATIONS = ("sum", "mean", "max", "prod", "first")

_REDUCTIONS: Mapping[str, Callable[[Array], Array]] = {
    "sum": lambda stacked: stacked.sum(axis=0),
    "mean": lambda stacked: stacked.mean(axis=0),
    "max": lambda stacked: stacked.max(axis=0),
    "prod": lambda stacked: stacked.prod(axis=0),
    "first": lambda stacked: stacked[0],
}


def aggregate_scores(groups: CoupledGroups, vectors: Mapping[str, Array], *, aggregation: str) -> Array:
    """Combine the members' scores of every group, as LLM-Pruner's `grouping_strategy` does.

    Sub-units are summed first: the query heads of a KV group are added to its key head. Then `aggregation`
    combines the members index by index, and the indices of a head are summed. LLM-Pruner adds query heads to
    key heads in an order that mixes the groups; here a query head is added to the key head that it attends
    with [LLMPruner]_.

    Args:
        groups: The groups of one block and target.
        vectors: Module name → score per row or column, `(indices,)`; a linear without an entry takes no part.
        aggregation: `sum`, `mean`, `max`, `prod` or `first` (the root alone).

    Returns:
        Scores `(groups.count,)`.

    Raises:
        InputError: If `aggregation` is unknown.
    """
    if aggregation not in AGGREGATIONS:
        raise InputError(f"aggregation={aggregation!r}: allowed are {AGGREGATIONS}.")
    stacked = np.stack(
        [
            vectors[member.name].reshape(groups.count, member.repeats, member.width).sum(axis=1)
            for member in groups.members
            if member.name in vectors
        ]
    )
    with np.errstate(over="ignore"):  # callers check for infinite scores
        scores: Array = _REDUCTIONS[aggregation](stacked).sum(axis=1)
    return scores
