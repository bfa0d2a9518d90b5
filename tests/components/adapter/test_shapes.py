from __future__ import annotations

import numpy as np
import pytest

from rankadaptor.components.adapter import RankSpace, add_scales, linear_in_depth
from rankadaptor.errors import InputError
from tests.space.shapes import build_linears


def test_ranks_rise_or_fall_with_depth_and_use_the_budget() -> None:
    space = RankSpace.from_linears(build_linears(6), like_uniform=4, slots="linear")
    rising, falling = linear_in_depth(space, slope=0.5), linear_in_depth(space, slope=-0.5)
    blocks = np.array([slot.block for slot in space.slots])
    for allocation, sign in ((rising, 1), (falling, -1)):
        ranks = np.array(allocation.values)
        assert sign * (ranks[blocks >= 3].mean() - ranks[blocks < 3].mean()) > 1
        assert space.is_filled(allocation)
    with pytest.raises(InputError, match="-1 to 1"):
        linear_in_depth(space, slope=2.0)


def test_scales_beside_the_ranks_keep_the_recipe_s_own() -> None:
    space = add_scales(RankSpace.from_linears(build_linears(3), like_uniform=4, slots="linear"))
    allocation = linear_in_depth(space)
    assert set(allocation.by_slot("scale").values()) == {100}
    assert len(set(allocation.by_slot("rank").values())) > 1
