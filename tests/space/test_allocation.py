from __future__ import annotations

import pytest

from rankadaptor.errors import InputError
from rankadaptor.space import Allocation, RankSpace
from tests.space.shapes import build_linears


def test_by_module_names_every_linear_once() -> None:
    linears = build_linears(3)
    space = RankSpace.from_linears(linears, like_uniform=4, slots="half_block")
    allocation = space.sample(1, seed=0)[0]
    by_module = allocation.by_module()
    assert sorted(by_module) == sorted(linear.name for linear in linears)
    assert by_module["model.layers.1.mlp.up_proj"] == allocation.by_slot()["block1.mlp"]
    parameters = sum(
        by_module[linear.name] * (linear.in_features + linear.out_features) for linear in linears
    )
    assert parameters == allocation.cost <= space.budget


def test_equality_looks_at_the_values_only() -> None:
    wide = RankSpace.from_linears(build_linears(3), like_uniform=4, slots="block")
    narrow = RankSpace.from_linears(build_linears(3), like_uniform=4, slots="block", ranks=(0, 4, 8))
    assert wide.uniform() == narrow.uniform()
    assert len({wide.uniform(), narrow.uniform()}) == 1


def test_an_allocation_of_another_model_is_refused_by_name() -> None:
    one = RankSpace.from_linears(build_linears(3), like_uniform=4, slots="block", model="llama, pruning a1")
    other = RankSpace.from_linears(build_linears(4), like_uniform=4, slots="block", model="llama, pruning b2")
    with pytest.raises(
        InputError, match=r"made for llama, pruning a1 .*3 slots.*at hand is llama, pruning b2"
    ):
        Allocation.from_json(one.uniform().to_json(), other)


def test_an_allocation_of_another_budget_says_how_to_bring_it_inside() -> None:
    one = RankSpace.from_linears(build_linears(3), like_uniform=4, slots="block", model="m")
    other = RankSpace.from_linears(build_linears(3), like_uniform=2, slots="block", model="m")
    with pytest.raises(InputError, match=r"budget .* space\.repair"):
        Allocation.from_json(one.uniform().to_json(), other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "schema 2, this version reads 1"),
        ({"slots": [4, 4, 4]}, "not an allocation"),
        ({"slots": {"block0": 4, "block1": 4, "block9": 4}}, "file was edited"),
        ({"slots": {"block0": 64, "block1": 64, "block2": 64}}, "too many|not one of its options"),
    ],
)
def test_a_faulty_file_is_refused(change: dict, message: str) -> None:
    space = RankSpace.from_linears(build_linears(3), like_uniform=4, slots="block")
    with pytest.raises(InputError, match=message):
        Allocation.from_json(space.uniform().to_json() | change, space)
