from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankadaptor.corpus import Record
from rankadaptor.errors import InputError
from rankadaptor.features import ScoreTable, SlotValues
from rankadaptor.predictor.quality import compute_kendall
from rankadaptor.search import estimate_slot_values, plan_sweep, solve_exact
from rankadaptor.search.directions import find_directions, find_support
from rankadaptor.space import Limit, Space
from tests.space.joint import JointOracle, make_joint_oracle, make_joint_space
from tests.space.toy import make_space


@pytest.fixture(scope="module")
def space() -> Space:
    return make_joint_space(size=0.55)


@pytest.fixture(scope="module")
def oracle(space: Space) -> JointOracle:
    return make_joint_oracle(space, seed=0, interaction=0.0)


def test_a_plan_changes_one_slot_each_and_sees_every_kind_of_option(space):
    plan = plan_sweep(space)
    assert len(plan) == len(set(plan)) == 122
    seen: dict[tuple[str, tuple[int, ...]], int] = {}
    for allocation in plan:
        (slot,) = np.flatnonzero(np.asarray(allocation.choices) != space.origin)
        key = (space.slots[slot].kind, find_support(space.slots[slot], allocation.choices[slot]))
        seen[key] = seen.get(key, 0) + 1
    assert min(seen["mlp", (0,)], seen["attention", (0,)]) >= 30  # width everywhere
    assert min(seen["mlp", (0, 1)], seen["mlp", (2, 3)], seen["attention", (2, 3)]) >= 8  # dropped, types
    assert plan_sweep(space, evaluations=60) == plan[:60]
    with pytest.raises(InputError, match="are needed"):
        plan_sweep(space, evaluations=3)
    # No slot has more options than this; a plan ends there.
    assert 300 < len(plan_sweep(space, evaluations=10_000)) < sum(len(slot.options) for slot in space.slots)


def test_values_that_were_not_measured_are_near_the_truth(space, oracle):
    true = np.maximum(oracle.damages, 0.0)
    errors = {}
    for count in (60, 122, 240):
        values = estimate_slot_values(space, oracle.measure(plan_sweep(space, evaluations=count)))
        assert values.measured == count
        array = values.as_array(space)
        felt = true > 1e-4
        errors[count] = np.sqrt(np.mean(np.log(array[felt] / true[felt]) ** 2))
    assert errors[60] > errors[122] > errors[240]
    assert errors[122] < 0.45
    values = estimate_slot_values(space, oracle.measure(plan_sweep(space)))
    assert SlotValues.from_json(values.to_json()) == values
    drawn = space.sample_choices(200, 0)
    assert compute_kendall(values.sum_values(space, drawn), oracle.true_kl(drawn)) > 0.85
    found = solve_exact(space, values)
    assert oracle.true_kl([found])[0] < oracle.true_kl(drawn).min()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), count=st.integers(8, 36))
def test_values_are_never_negative_and_rise_along_each_coordinate(seed, count):
    space = make_space()
    rng = np.random.default_rng(seed)
    sizes, powers = rng.exponential(size=space.n_slots), rng.uniform(0.3, 3, size=2)

    def measure(allocation) -> Record:
        kl = sum(
            size * float((np.abs(slot.coordinates[choice]) ** powers).sum())
            for slot, size, choice in zip(space.slots, sizes, allocation.choices, strict=True)
        )
        return Record(
            setting="toy", values=allocation.values, source="slice", seed=0, steps=0, fidelity=0.0,
            metrics={"loss": 3 + kl, "loss_reference": 3.0}, costs={"tokens": 10},
        )  # fmt: skip

    values = estimate_slot_values(space, [measure(each) for each in plan_sweep(space, evaluations=count)])
    for slot, row in zip(space.slots, values.values, strict=True):
        assert min(row) >= 0.0
        assert row[space.origin[0]] == 0.0
        for levels in find_directions(slot).levels.values():
            curve = np.array([row[option] for _, option in levels])
            assert (np.diff(curve) >= -1e-9 * curve.max()).all()


def test_what_cannot_be_estimated_or_does_not_fit_is_named(space, oracle):
    records = oracle.measure(plan_sweep(space, evaluations=60))
    attention = [index for index, slot in enumerate(space.slots) if slot.kind == "attention"]
    dense = space.reference().values
    others = [record for record in records if all(record.values[i] == dense[i] for i in attention)]
    with pytest.raises(InputError, match=r"attention.*plan_sweep"):
        estimate_slot_values(space, others)
    values = estimate_slot_values(space, records)
    smaller = Space(space.slots, (Limit("bytes", space.bounds[0] - 1000),), space.references)
    assert values.as_array(smaller).shape == space.tables.costs[0].shape  # one sweep serves several sizes
    with pytest.raises(InputError, match="other options"):
        values.as_array(make_space())
    with pytest.raises(InputError, match="not finite"):
        SlotValues(values.options, tuple((float("nan"),) * len(row) for row in values.values))
    toy = make_space(blocks=2)
    options = tuple(slot.options for slot in toy.slots)
    table = ScoreTable("taylor", toy.digest, options, tuple(tuple(map(float, range(12))) for _ in options))
    assert SlotValues.of_scores(toy, table).values[0][3] == -3.0
    with pytest.raises(InputError, match="one row per slot"):
        SlotValues.of_scores(toy, [[1.0]])
