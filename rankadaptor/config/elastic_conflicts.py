"""Faults of an elastic job's run file that no single key shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rankadaptor.config.compress_conflicts import find_unknown_names
from rankadaptor.config.conflicts import Conflict

if TYPE_CHECKING:
    from rankadaptor.config.elastic import ElasticConfig


def find_elastic_conflicts(config: ElasticConfig) -> Iterator[Conflict]:
    """Yield all conflicts of an elastic job that can be seen without its model or data."""
    given, ranks = config.choices, config.choices.ranks
    if len(set(ranks)) < len(ranks) or min(ranks) < 0 or max(ranks) < 1:
        yield Conflict(
            ("choices.ranks",),
            f"given {list(ranks)}. Give different ranks, all at least 0 and one of them above.",
        )
    if not (given.width or given.attention or given.depth) and len(set(ranks)) < 2:
        yield Conflict(
            ("choices.ranks", "choices.width"),
            "there is one allocation, so nothing is elastic. Give several ranks, or allow widths.",
        )
    if config.search.parameters is not None and not (given.width or given.attention or given.depth):
        yield Conflict(
            ("search.parameters", "choices.width"),
            "ranks alone change no parameter of the model. Allow widths, or leave the limit out.",
        )
    if given.sparsity and (given.width or given.attention or given.depth):
        yield Conflict(
            ("choices.sparsity", "choices.width"),
            "a sparse model keeps all its channels, heads and blocks here. Set width, attention and depth to "
            "false, or sparsity to 0.",
        )
    yield from find_unknown_names(config)
