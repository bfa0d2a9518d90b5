from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankadaptor.errors import BudgetError, InputError
from rankadaptor.space import Allocation, RankSpace, Slot, Space
from tests.space.shapes import SPACES, build_linears

SEEDS = st.integers(0, 2**32)


def assert_inside_and_filled(space: Space, values: tuple[int, ...]) -> None:
    """By the definition, slot by slot, without the arrays under test."""
    cost = 0
    for slot, value in zip(space.slots, values, strict=True):
        assert value in slot.options
        assert slot.pinned in (None, value)
        cost += slot.costs[slot.options.index(value)]
    assert cost <= space.budget
    assert space.cost(values) == cost
    assert space.contains(values)
    for slot, value in zip(space.slots, values, strict=True):
        place = slot.options.index(value)
        if slot.pinned is None and place + 1 < len(slot.options):
            assert cost + slot.costs[place + 1] - slot.costs[place] > space.budget


@settings(max_examples=60, deadline=None)
@given(space=SPACES, seed=SEEDS)
def test_every_sample_is_inside_and_filled(space: Space, seed: int) -> None:
    for values in space.sample_array(20, seed).tolist():
        assert_inside_and_filled(space, tuple(values))
    allocations = space.sample(10, seed=seed)
    assert len(set(allocations)) == len(allocations)
    for allocation in allocations:
        assert_inside_and_filled(space, allocation.values)


@settings(max_examples=60, deadline=None)
@given(space=SPACES, seed=SEEDS, data=st.data())
def test_repair_brings_anything_inside_and_leaves_what_is(
    space: Space, seed: int, data: st.DataObject
) -> None:
    values = data.draw(st.lists(st.integers(0, 200), min_size=space.n_slots, max_size=space.n_slots))
    repaired = space.repair(values, seed=seed)
    assert_inside_and_filled(space, repaired.values)
    assert space.repair(repaired.values, seed=seed + 1) == repaired


@settings(max_examples=60, deadline=None)
@given(space=SPACES)
def test_round_trips(space: Space) -> None:
    again = Space.from_json(json.loads(json.dumps(space.to_json())))
    assert again == space
    assert again.digest == space.digest
    assert hash(again) == hash(space)
    assert again.slots == space.slots
    allocation = space.uniform()
    assert Allocation.from_json(json.loads(json.dumps(allocation.to_json())), again) == allocation


@settings(max_examples=40, deadline=None)
@given(space=SPACES)
def test_reference_is_allowed(space: Space) -> None:
    assert space.contains(space.reference)
    assert space.uniform().is_uniform


def test_samples_repeat_with_the_seed_and_differ_without() -> None:
    space = RankSpace.from_linears(build_linears(), like_uniform=4)
    assert np.array_equal(space.sample_array(50, 3), space.sample_array(50, 3))
    assert not np.array_equal(space.sample_array(50, 3), space.sample_array(50, 4))
    assert space.sample(20, seed=5) == space.sample(20, seed=5)


def test_samples_range_from_slight_tilts_to_far_corners() -> None:
    space = RankSpace.from_linears(build_linears(12), like_uniform=8)
    values = space.sample_array(4000, 0)
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
    space.sample_array(10, 0)
    start = time.process_time()
    values = space.sample_array(100_000, 0)
    assert time.process_time() - start < 6.0  # about 1.3 s on a quiet machine
    assert (space.cost_array(values) <= space.budget).all()


def test_asking_for_more_than_there_is_gives_all_there_is() -> None:
    space = RankSpace.from_linears(
        build_linears(3), like_uniform=2, ranks=(1, 2, 3), mode="rank_sum", slots="block"
    )
    assert len(space.sample(1000, seed=0)) == 7


def test_cost_array_agrees_with_cost_and_names_a_fault() -> None:
    space = RankSpace.from_linears(build_linears(), like_uniform=4, slots="half_block")
    values = space.sample_array(30, 1)
    assert space.cost_array(values).tolist() == [space.cost(row) for row in values.tolist()]
    values[7, 2] = 63
    with pytest.raises(
        InputError, match=r"row 7, slot 'block1\.attention': 63 is not one of its options \(0, 1"
    ):
        space.cost_array(values)
    with pytest.raises(InputError, match="one column per slot"):
        space.cost_array(values[:, :-1])
    with pytest.raises(InputError, match="whole numbers"):
        space.cost_array(values + 0.5)


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
    slot = Slot("one", ("a",), (1, 2), (10, 20), block=0, kind="a")
    with pytest.raises(BudgetError, match="no allocation meets it, the cheapest costs 10"):
        Space((slot,), 9, (1,))
    with pytest.raises(BudgetError, match="costs 20, allowed are 15"):
        Space((slot,), 15, (2,))
    with pytest.raises(InputError, match="slot names occur twice"):
        Space((slot, slot), 100, (1, 1))
    with pytest.raises(InputError, match="without slots"):
        Space((), 100, ())
    with pytest.raises(InputError, match="allowed are parameters, rank_sum"):
        Space((slot,), 100, (1,), mode="bits")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": (2, 1)}, "ascending"),
        ({"options": (-1, 1)}, "ascending"),
        ({"costs": (5, 5)}, "must rise"),
        ({"costs": (5,)}, "exactly one cost for each"),
        ({"pinned": 3}, "pinned at 3"),
        ({"attributes": (("depth", float("nan")),)}, "finite"),
    ],
)
def test_faulty_slots_are_refused(changes: dict, message: str) -> None:
    fields = {"name": "s", "modules": ("a",), "options": (1, 2), "costs": (10, 20), "block": 0, "kind": "a"}
    with pytest.raises(InputError, match=message):
        Slot(**(fields | changes))


def test_faulty_json_is_refused() -> None:
    data = RankSpace.from_linears(build_linears(), like_uniform=4).to_json()
    with pytest.raises(InputError, match="schema 2, this version reads 1"):
        Space.from_json(data | {"schema": 2})
    with pytest.raises(InputError, match="needs slots, budget"):
        Space.from_json({key: value for key, value in data.items() if key != "budget"})
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
