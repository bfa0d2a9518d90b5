from __future__ import annotations

import pytest

from rankadaptor.components.adapter import RankSpace
from rankadaptor.errors import InputError
from rankadaptor.space import Allocation
from tests.space.shapes import build_linears
from tests.space.toy import make_space


def test_an_allocation_names_options_and_costs_in_every_resource() -> None:
    space = make_space(blocks=18, size=9000, time=4200)  # more slots than a short form lists
    allocation = space.sample(1, seed=0)[0]
    labels = [slot.options[choice] for slot, choice in zip(space.slots, allocation.choices, strict=True)]
    assert list(allocation.values) == labels == list(allocation.by_slot().values())
    assert allocation.by_slot("width_and_bits") == allocation.by_slot()
    assert allocation.by_slot("rank") == {}
    for resource in ("bytes", "latency"):
        by_hand = sum(
            slot.costs_in(resource)[slot.options.index(label)]
            for slot, label in zip(space.slots, labels, strict=True)
        )
        assert allocation.cost(resource) == by_hand
        assert f"{by_hand:,} of" in repr(allocation)
    assert allocation.cost() == allocation.cost("bytes")
    assert allocation.cost("adapter_parameters") == 0


def test_equality_looks_at_the_choices_only() -> None:
    one = RankSpace.from_linears(build_linears(3), like_uniform=4, slots="block", ranks=(0, 4, 8))
    other = RankSpace.from_linears(build_linears(3), like_uniform=4, slots="block", ranks=(2, 4, 8))
    assert one.reference() == other.reference()
    assert len({one.reference(), other.reference()}) == 1


def test_an_allocation_of_another_model_is_refused_by_name() -> None:
    one = RankSpace.from_linears(build_linears(3), like_uniform=4, slots="block", model="llama, pruning a1")
    other = RankSpace.from_linears(build_linears(4), like_uniform=4, slots="block", model="llama, pruning b2")
    with pytest.raises(
        InputError, match=r"made for llama, pruning a1 .*3 slots.*at hand is llama, pruning b2"
    ):
        Allocation.from_json(one.reference().to_json(), other)


def test_an_allocation_of_another_budget_says_how_to_bring_it_inside() -> None:
    one = RankSpace.from_linears(build_linears(3), like_uniform=4, slots="block", model="m")
    other = RankSpace.from_linears(build_linears(3), like_uniform=2, slots="block", model="m")
    with pytest.raises(InputError, match=r"limits .* space\.repair"):
        Allocation.from_json(one.reference().to_json(), other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 3}, "schema 3, this version reads 1 and 2"),
        ({"slots": [4, 4, 4]}, "not an allocation"),
        ({"slots": {"block0": 4, "block1": 4, "block9": 4}}, "file was edited"),
        ({"slots": {"block0": 64, "block1": 64, "block2": 64}}, "too many|not one of its options"),
    ],
)
def test_a_faulty_file_is_refused(change: dict, message: str) -> None:
    space = RankSpace.from_linears(build_linears(3), like_uniform=4, slots="block")
    with pytest.raises(InputError, match=message):
        Allocation.from_json(space.reference().to_json() | change, space)


def test_files_of_schema_1_are_read() -> None:
    """They hold ranks by slot, the model and one budget, and name no space."""
    space = RankSpace.from_linears(build_linears(3), like_uniform=4, slots="block", model="m")
    allocation = space.sample(1, seed=3)[0]
    old = {
        "schema": 1, "model": "m", "budget": space.bounds[0], "cost": allocation.cost(),
        "mode": "parameters", "space": "a digest that spaces no longer have",
        "slots": dict(zip((slot.name for slot in space.slots), allocation.values, strict=True)),
    }  # fmt: skip
    assert Allocation.from_json(old, space) == allocation
    for change, message in (
        ({"budget": space.bounds[0] - 1}, r"made for m .*space\.repair"),
        ({"model": "other"}, "made for other"),
        ({"slots": {**old["slots"], "block0": 7}}, "7 is not one of its options"),
    ):
        with pytest.raises(InputError, match=message):
            Allocation.from_json(old | change, space)
