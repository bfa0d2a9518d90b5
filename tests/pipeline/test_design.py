"""Designed allocations take sides, keep the budget and use it up."""

from __future__ import annotations

import numpy as np
import pytest

from rankadaptor.components.adapter import ADAPTER_PARAMETERS, RankSpace
from rankadaptor.model.families import Linear
from rankadaptor.pipeline.design import allocate_by_weights, design_allocations

KINDS = {"q_proj": (32, 32), "v_proj": (32, 16), "up_proj": (32, 48), "down_proj": (48, 32)}


@pytest.fixture(params=["block", "half_block", "linear"])
def space(request):
    linears = [
        Linear(f"model.layers.{block}.{kind}", block, kind, *shape)
        for block in range(6)
        for kind, shape in KINDS.items()
    ]
    damage = {block: {"removed_share": block / 10, "lost_importance": 0.1} for block in range(6)}
    return RankSpace.from_linears(linears, like_uniform=4, slots=request.param, attributes=damage)


def test_allocations_are_distinct_and_use_the_budget_up(space):
    designed = design_allocations(space, 40, seed=0)
    assert len(designed) == len(set(designed)) == 41
    assert designed[0].is_reference
    cheapest = min(slot.costs_in(ADAPTER_PARAMETERS)[1] for slot in space.slots)
    for allocation in designed:
        assert space.bounds[0] - cheapest * 8 < allocation.cost() <= space.bounds[0]
    assert designed == design_allocations(space, 40, seed=0)


def test_ranks_follow_the_weights(space):
    blocks = np.array([slot.block for slot in space.slots])
    values = np.array(allocate_by_weights(space, np.where(blocks < 3, 2.0, 0.25)).values)
    assert values[blocks < 3].min() > values[blocks >= 3].max()


def test_few_allocations_still_hold_shapes_and_random_ones(space):
    few = design_allocations(space, 6, seed=0)
    assert len(few) == 7
    assert len(set(few) & set(design_allocations(space, 60, seed=0))) >= 4
