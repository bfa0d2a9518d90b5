from __future__ import annotations

import pytest

from rankadaptor.components.adapter import (
    RankSpace,
    count_parameters,
    describe_budget,
    read_ranks,
    read_scales,
    read_sizes,
)
from tests.space.shapes import build_linears
from tests.space.toy import make_space


def test_read_ranks_names_every_linear_once() -> None:
    linears = build_linears(3)
    space = RankSpace.from_linears(linears, like_uniform=4, slots="half_block")
    allocation = space.sample(1, seed=0)[0]
    by_module = read_ranks(allocation)
    assert sorted(by_module) == sorted(linear.name for linear in linears)
    assert by_module["model.layers.1.mlp.up_proj"] == allocation.by_slot()["block1.mlp"]
    parameters = sum(
        by_module[linear.name] * (linear.in_features + linear.out_features) for linear in linears
    )
    assert parameters == allocation.cost() <= space.bounds[0]
    assert read_sizes(allocation) == allocation.values
    assert read_scales(allocation) == {}


@pytest.mark.parametrize("slots", ["block", "linear"])
def test_the_budget_s_unit_and_the_parameters_behind_it(slots: str) -> None:
    in_ranks = RankSpace.from_linears(build_linears(3), like_uniform=4, slots=slots, mode="rank_sum")
    in_parameters = RankSpace.from_linears(build_linears(3), like_uniform=4, slots=slots)
    assert describe_budget(in_ranks) == (4 * in_ranks.n_slots, "rank_sum")
    assert describe_budget(in_parameters) == (in_parameters.bounds[0], "parameters")
    for space in (in_ranks, in_parameters):
        assert count_parameters(space, space.reference().values) == in_parameters.bounds[0]


def test_options_of_other_components_are_no_ranks() -> None:
    toy = make_space().sample(1, seed=0)[0]
    assert read_ranks(toy) == read_scales(toy) == {}
    with pytest.raises(TypeError, match="not a whole number"):
        read_sizes(toy)
