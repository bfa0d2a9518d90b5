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
    yield from _find_merging_conflicts(config)
    if given.sparsity and (given.width or given.attention or given.depth):
        yield Conflict(
            ("choices.sparsity", "choices.width"),
            "a sparse model keeps all its channels, heads and blocks here. Set width, attention and depth to "
            "false, or sparsity to 0.",
        )
    if config.file and given.sparsity and config.train.merge_as is None:
        yield Conflict(
            ("file", "choices.sparsity"),
            "the result is a sparse model and an adapter beside it, which one file cannot hold. Set "
            "train.merge_as to a type, for example Q4_0, or file to false.",
        )
    yield from find_unknown_names(config)


def _find_merging_conflicts(config: ElasticConfig) -> Iterator[Conflict]:
    given, kind = config.choices, config.train.merge_as
    if kind is None:
        if "unmerged" in config.references:
            yield Conflict(
                ("references", "train.merge_as"),
                "unmerged is the counterpart of a merged result. Set train.merge_as to its type, for example "
                "Q4_0, or leave unmerged out.",
            )
        return
    if given.width or given.attention or given.depth:
        yield Conflict(
            ("train.merge_as", "choices.width"),
            f"given {kind}. Training goes through a type only where widths and depth are fixed. Set width, "
            "attention and depth to false, or leave merge_as out.",
        )
    if min(given.ranks) < 1:
        yield Conflict(
            ("train.merge_as", "choices.ranks"),
            f"given {list(given.ranks)}. A linear without an adapter is not trained through its type. Give "
            "ranks above 0.",
        )
