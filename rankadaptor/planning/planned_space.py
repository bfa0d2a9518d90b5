"""The space of a run, from its model's sizes alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rankadaptor.components.adapter import RankSpace
from rankadaptor.space import Space

if TYPE_CHECKING:
    from rankadaptor.config import RunConfig
    from rankadaptor.planning.shape import ModelShape


def build_planned_space(config: RunConfig, shape: ModelShape) -> Space:
    """Build the run's space over the sizes of its pruned model.

    Raises:
        InputError: If the space does not fit the model.
        BudgetError: If no allocation meets the budget.
    """
    given = config.space
    return RankSpace.from_linears(
        shape.linears,
        like_uniform=given.like_uniform,
        parameters=given.parameters,
        megabytes=given.megabytes,
        slots=given.slots,
        ranks=given.ranks,
        mode=given.mode,
        pinned=given.pinned,
        blocks=given.blocks,
    )
