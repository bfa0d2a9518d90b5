from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankadaptor.components.adapter import RankSpace
from rankadaptor.errors import BudgetError, InputError
from rankadaptor.space import Allocation, Limit, Slot, Space
from rankadaptor.space.slot import read_label
from tests.space.shapes import SPACES, build_linears
from tests.space.toy import make_space

SEEDS = st.integers(0, 2**32)


def assert_inside_and_filled(space: Space, allocation: Allocation) -> None:
    """By the definition, slot by slot, without the arrays under test."""
    totals = {limit.resource: 0 for limit in space.limits}
    for slot, choice in zip(space.slots, allocation.choices, strict=True):
        assert slot.pinned in (None, choice)
        for resource in totals:
            totals[resource] += slot.costs_in(resource)[choice]
    for limit in space.limits:
        assert allocation.cost(limit.resource) == totals[limit.resource] <= limit.bound
    assert space.contains(allocation.values)
    assert space.is_filled(allocation)
    if len(space.limits) > 1:
        return  # the next dearer option may break the other limit
    (limit,) = space.limits
    for slot, choice in zip(space.slots, allocation.choices, strict=True):
        costs = slot.costs_in(limit.resource)
        dearer = [cost - costs[choice] for cost in costs if cost > costs[choice]]
        if slot.pinned is None and dearer:
            assert totals[limit.resource] + min(dearer) > limit.bound


@settings(max_examples=60, deadline=None)
@given(space=SPACES, seed=SEEDS)
def test_every_sample_is_inside_and_filled(space: Space, seed: int) -> None:
    for choices in space.sample_choices(20, seed).tolist():
        assert_inside_and_filled(space, Allocation(tuple(choices), space))
    allocations = space.sample(10, seed=seed)
    assert len(set(allocations)) == len(allocations)
    for allocation in allocations:
        assert_inside_and_filled(space, allocation)


@settings(max_examples=60, deadline=None)
@given(space=SPACES, seed=SEEDS, data=st.data())
def test_repair_brings_anything_inside_and_leaves_what_is(
    space: Space, seed: int, data: st.DataObject
) -> None:
    values = data.draw(st.lists(st.integers(0, 200), min_size=space.n_slots, max_size=space.n_slots))
    repaired = space.repair(values, seed=seed)
    assert_inside_and_filled(space, repaired)
    assert space.repair(repaired.values, seed=seed + 1) == repaired


@settings(max_examples=60, deadline=None)
@given(space=SPACES)
def test_round_trips(space: Space) -> None:
    again = Space.from_json(json.loads(json.dumps(space.to_json())))
    assert again == space
    assert again.digest == space.digest
    assert hash(again) == hash(space)
    assert again.slots == space.slots
    allocation = space.reference()
    assert Allocation.from_json(json.loads(json.dumps(allocation.to_json())), again) == allocation


@settings(max_examples=40, deadline=None)
@given(space=SPACES)
def test_reference_is_allowed(space: Space) -> None:
    assert space.contains(space.reference().values)
    assert space.reference().is_reference
    assert space.reference(space.references[0][0]) == space.reference()
    assert not space.tables.coordinates[:, space.tables.columns, space.origin].any()


def test_samples_repeat_with_the_seed_and_differ_without() -> None:
    space = RankSpace.from_linears(build_linears(), like_uniform=4, slots="linear")
    assert np.array_equal(space.sample_choices(50, 3), space.sample_choices(50, 3))
    assert not np.array_equal(space.sample_choices(50, 3), space.sample_choices(50, 4))
    assert space.sample(20, seed=5) == space.sample(20, seed=5)


def test_samples_range_from_slight_tilts_to_far_corners() -> None:
    space = RankSpace.from_linears(build_linears(12), like_uniform=8, slots="linear")
    values = np.array(space.read_labels(space.sample_choices(4000, 0)))
    assert len(np.unique(values, axis=0)) > 3500
    near = (values == 8).mean(axis=1)
    assert (near > 0.7).mean() > 0.03
    assert (near < 0.15).mean() > 0.2
    # Rank 0 is reached in every slot, and the shares of kinds and of halves of the depth vary.
    assert (values.min(axis=0) == 0).all()
    kinds = np.array([slot.kind for slot in space.slots])
    share = values[:, kinds == "down_proj"].sum(axis=1) / values.sum(axis=1)
    assert np.quantile(share, 0.95) > 1.5 * np.quantile(share, 0.05)
    first = np.array([slot.block < 6 for slot in space.slots])
    front = values[:, first].sum(axis=1) / values.sum(axis=1)
    assert np.quantile(front, 0.05) < 0.35
    assert np.quantile(front, 0.95) > 0.65


def test_sampling_is_fast() -> None:
    space = RankSpace.from_linears(build_linears(30, hidden=96), like_uniform=8, slots="half_block")
    assert space.n_slots == 60
    space.sample_choices(10, 0)
    start = time.process_time()
    choices = space.sample_choices(100_000, 0)
    assert time.process_time() - start < 6.0  # about 1.3 s on a quiet machine
    assert (space.sum_costs(choices, space.limits[0].resource) <= space.bounds[0]).all()


def test_asking_for_more_than_there_is_gives_all_there_is() -> None:
    space = RankSpace.from_linears(
        build_linears(3), like_uniform=2, ranks=(1, 2, 3), mode="rank_sum", slots="block"
    )
    assert len(space.sample(1000, seed=0)) == 7


def test_sums_of_costs_agree_with_cost_and_choices_are_checked() -> None:
    space = make_space()
    choices = space.sample_choices(30, 1)
    allocations = [space.from_choices(row) for row in choices.tolist()]
    for resource in ("bytes", "latency", "unused"):
        assert space.sum_costs(choices, resource).tolist() == [each.cost(resource) for each in allocations]
    assert [each.values for each in allocations] == space.read_labels(choices)
    with pytest.raises(InputError, match="one column per slot"):
        space.sum_costs(choices[:, :-1], "bytes")
    with pytest.raises(InputError, match=r"'block2\.mlp': option number 12; it has 12, counted from 0"):
        space.from_choices([0, 0, 12, 0, 0, 0])


def test_choices_that_are_no_options_are_refused_where_costs_are_summed() -> None:
    space = make_space()
    choices = space.sample_choices(3, 1)
    for wrong, message in ((99, r"row 1, slot 'block2\.mlp': option number 99"), (-1, "option number -1")):
        faulty = choices.copy()
        faulty[1, 2] = wrong
        for ask in (lambda rows: space.sum_costs(rows, "bytes"), space.read_labels):
            with pytest.raises(InputError, match=message):
                ask(faulty)
    with pytest.raises(InputError, match="whole numbers"):
        space.sum_costs(choices + 0.5, "bytes")


def test_references_have_names_and_may_exceed_the_limits() -> None:
    space = make_space()
    assert space.reference("dense").cost("bytes") > space.bounds[0]
    assert not space.contains(space.reference().values)
    with pytest.raises(InputError, match="reference 'uniform': this space has dense"):
        space.reference("uniform")
    with pytest.raises(InputError, match="without a reference"):
        dataclasses.replace(space, references=())
    with pytest.raises(InputError, match="references occur twice"):
        dataclasses.replace(space, references=2 * space.references)


def test_outside_allocations_say_why_and_what_next() -> None:
    space = RankSpace.from_linears(build_linears(), like_uniform=4, slots="block", pinned={0: 4})
    with pytest.raises(BudgetError, match=r"costs .*, allowed are .* too many.*repair"):
        space.allocation([4, 8, 8, 8])
    with pytest.raises(BudgetError, match=r"'block1': 7 is not one of its options"):
        space.allocation([4, 7, 0, 0])
    with pytest.raises(BudgetError, match="pinned at 4 and was given 2"):
        space.allocation([2, 2, 2, 2])
    with pytest.raises(InputError, match="3 values for 4 slots"):
        space.allocation([4, 4, 4])
    assert not space.contains([4, 8, 8, 8])
    assert space.repair([9, 64, 64, 64], seed=0).values[0] == 4
    with pytest.raises(InputError, match="≥ 0"):
        space.repair([4, -1, 0, 0], seed=0)


def test_impossible_spaces_are_refused() -> None:
    slot, fields = Slot(**SLOT), {"references": (("first", (0,)),)}
    with pytest.raises(BudgetError, match="no allocation meets it, the cheapest costs 10"):
        Space(slots=(slot,), limits=(Limit("bytes", 9),), **fields)
    with pytest.raises(InputError, match="slot names occur twice"):
        Space(slots=(slot, slot), limits=(), references=(("first", (0, 0)),))
    with pytest.raises(InputError, match="limits occur twice"):
        Space(slots=(slot,), limits=(Limit("bytes", 100), Limit("bytes", 90)), **fields)
    with pytest.raises(InputError, match="at least 0"):
        Limit("bytes", -1)
    with pytest.raises(InputError, match="without slots"):
        Space(slots=(), limits=(), references=(("first", ()),))
    with pytest.raises(InputError, match="'first', slot 'one': option number 2"):
        Space(slots=(slot,), limits=(), references=(("first", (2,)),))
    with pytest.raises(BudgetError, match="'one' is pinned at wide and was given small"):
        Space(slots=(dataclasses.replace(slot, pinned=1),), limits=(), **fields)
    with pytest.raises(InputError, match="coordinates are not zero"):
        Space(slots=(slot,), limits=(), references=(("second", (1,)),))


def test_a_limit_on_what_no_slot_uses_forbids_nothing() -> None:
    space = Space(slots=(Slot(**SLOT),), limits=(Limit("macs", 0),), references=(("first", (0,)),))
    assert {allocation.values for allocation in space.sample(10, seed=0)} == {("small",), ("wide",)}
    free = Space(slots=(Slot(**SLOT),), limits=(), references=(("first", (0,)),))
    assert {allocation.values for allocation in free.sample(10, seed=0)} == {("small",), ("wide",)}


SLOT = {
    "name": "one", "component": "size", "modules": ("a",), "options": ("small", "wide"),
    "costs": (("bytes", (10, 20)),), "coordinates": ((0.0,), (1.0,)), "block": 0, "kind": "a",
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": ()}, "at least one"),
        ({"options": ("wide", "wide")}, "each of them once"),
        ({"costs": (("bytes", (5,)),)}, "exactly one cost for each"),
        ({"costs": (("bytes", (-1, 5)),)}, "between 0 and"),
        ({"costs": (("bytes", (1, 2)), ("bytes", (3, 4)))}, "names bytes twice"),
        ({"coordinates": ((0.0,),)}, "1 coordinate vectors"),
        ({"coordinates": ((0.0,), (1.0, 2.0))}, "all of one length"),
        ({"coordinates": ((0.0,), (float("nan"),))}, "finite"),
        ({"pinned": 3}, "pinned at option number 3"),
        ({"attributes": (("depth", float("nan")),)}, "finite"),
    ],
)
def test_faulty_slots_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Slot(**(SLOT | changes))


def test_labels_are_whole_numbers_texts_or_lists_of_them() -> None:
    assert [read_label(value) for value in (np.int64(3), "q4_k", [64, "q8_0"])] == [3, "q4_k", (64, "q8_0")]
    for value in (True, 1.5, None, [1.5], [[1]]):
        with pytest.raises(InputError, match="allowed are whole numbers, texts"):
            read_label(value)
    data = Slot(**SLOT).to_json()
    for change in ({"options": ["small", 1.5]}, {"costs": 7}, {"coordinates": None}):
        with pytest.raises(InputError):
            Slot.from_json(data | change)


def test_faulty_json_is_refused() -> None:
    data = RankSpace.from_linears(build_linears(), like_uniform=4, slots="linear").to_json()
    with pytest.raises(InputError, match="schema 3, this version reads 2"):
        Space.from_json(data | {"schema": 3})
    with pytest.raises(InputError, match="needs slots, limits and references"):
        Space.from_json({key: value for key, value in data.items() if key != "limits"})
    with pytest.raises(InputError, match="not a slot"):
        Space.from_json(data | {"slots": [{"name": "x"}]})
    with pytest.raises(InputError, match="schema None"):
        Space.from_json([])


def test_space_does_not_import_torch() -> None:
    code = (
        "import sys; from rankadaptor import space, features, corpus; "
        "print([name for name in ('torch', 'transformers', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
