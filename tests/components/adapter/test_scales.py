from __future__ import annotations

import numpy as np
import pytest

from rankadaptor.components.adapter import (
    RANK,
    SCALE,
    RankSpace,
    add_scales,
    describe_budget,
    read_ranks,
    read_scales,
)
from rankadaptor.errors import InputError
from rankadaptor.space import Space
from tests.space.shapes import build_linears


@pytest.fixture(scope="module")
def ranks() -> RankSpace:
    return RankSpace.from_linears(build_linears(6), like_uniform=4, slots="linear")


def test_scales_cost_nothing_and_ranks_keep_their_budget(ranks: RankSpace) -> None:
    space = add_scales(ranks)
    assert [slot.component for slot in space.slots].count(SCALE) == 7 + 3
    assert space.reference().cost() == ranks.reference().cost()
    assert describe_budget(space) == describe_budget(ranks)
    choices = space.sample_choices(300, 0)
    assert (space.sum_costs(choices, space.limits[0].resource) <= space.bounds[0]).all()
    drawn = np.array(space.read_labels(choices))
    assert all(space.contains(row) for row in drawn[:30].tolist())
    first, scales = drawn[:, : ranks.n_slots], drawn[:, ranks.n_slots :]
    resting = (scales == 100).all(axis=1)
    assert 0.1 < resting.mean() < 0.7  # some rows move ranks alone
    assert ((first == 4).all(axis=1) & ~resting).any()  # some scales alone
    assert (scales < 100).any()
    assert (scales > 100).any()


def test_a_module_s_factor_is_that_of_its_type_times_that_of_its_depth(ranks: RankSpace) -> None:
    space = add_scales(ranks)
    assert set(read_scales(space.reference()).values()) == {1.0}
    values = np.array(space.reference().values)
    names = [slot.name for slot in space.slots]
    values[names.index("scale.v_proj")] = 200
    values[names.index("scale.third1")] = 50
    allocation = space.allocation(values.tolist())
    factors = read_scales(allocation)
    assert factors["model.layers.0.self_attn.v_proj"] == pytest.approx(1.0)
    assert factors["model.layers.5.self_attn.v_proj"] == pytest.approx(2.0)
    assert factors["model.layers.0.mlp.up_proj"] == pytest.approx(0.5)
    assert set(read_ranks(allocation)) == set(read_ranks(ranks.reference()))


def test_held_ranks_stay_and_json_goes_round(ranks: RankSpace) -> None:
    held = add_scales(ranks, pin_ranks=True)
    drawn = np.array(held.read_labels(held.sample_choices(50, 0)))
    assert (drawn[:, : ranks.n_slots] == 4).all()
    assert (drawn[:, ranks.n_slots :] != 100).any()
    again = Space.from_json(held.to_json())
    assert again == held
    assert [slot.component for slot in again.slots] == [slot.component for slot in held.slots]
    assert [slot.component for slot in again.slots[: ranks.n_slots]] == [RANK] * ranks.n_slots


def test_wrong_arguments_are_named(ranks: RankSpace) -> None:
    with pytest.raises(InputError, match="100"):
        add_scales(ranks, scales=(50, 200))
    with pytest.raises(InputError, match="already"):
        add_scales(add_scales(ranks))
