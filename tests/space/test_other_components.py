"""A component unknown to the package works with space, predictors and search as they are."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankadaptor.corpus import Record
from rankadaptor.errors import BudgetError
from rankadaptor.predictor import make_predictor
from rankadaptor.search import Search, draw_random
from rankadaptor.space import Allocation, Limit, Space, breed
from tests.space.toy import BITS, CHANNELS, make_space


@pytest.fixture(scope="module")
def space() -> Space:
    return make_space()


def keeps_limits(space: Space, choices: np.ndarray) -> bool:
    return all((space.sum_costs(choices, limit.resource) <= limit.bound).all() for limit in space.limits)


@settings(max_examples=40, deadline=None)
@given(size=st.integers(6 * 104, 7000), time=st.integers(6 * 96, 4000), seed=st.integers(0, 1000))
def test_draws_and_repairs_keep_every_limit_and_leave_no_step_open(size, time, seed):
    space = make_space(size=size, time=time)
    drawn = space.sample_choices(64, seed)
    assert keeps_limits(space, drawn)
    assert all(space.is_filled(space.from_choices(row)) for row in drawn[:8].tolist())
    anything = np.random.default_rng(seed).integers(0, len(CHANNELS) * len(BITS), size=(32, space.n_slots))
    repaired = space.repair_choices(anything, seed=seed)
    assert keeps_limits(space, repaired)
    assert (space.repair_choices(repaired, seed=seed + 1) == repaired).all()  # inside and filled: unchanged


def test_sampling_reaches_different_widths_and_bits(space):
    labels = space.read_labels(space.sample_choices(500, 0))
    for part, options in ((0, CHANNELS), (1, BITS)):
        assert {label[part] for row in labels for label in row} == set(options)


def test_limits_that_cannot_be_kept_together_are_refused():
    with pytest.raises(BudgetError, match="latency"):
        make_space(time=6 * 96 - 1)
    space = make_space()
    # Each limit alone leaves something; the cheapest option in bytes is too slow.
    slow = tuple(
        dataclasses.replace(
            slot,
            costs=(slot.costs[0], ("latency", (900, *slot.costs[1][1][1:]))),
        )
        for slot in space.slots
    )
    limits = (Limit("bytes", 6 * 104), Limit("latency", 6 * 200))
    with pytest.raises(BudgetError, match="not all at once"):
        Space(slots=slow, limits=limits, references=space.references)


def test_allocations_and_spaces_survive_json(space):
    again = Space.from_json(space.to_json())
    assert again == space
    allocation = draw_random(space, 1, seed=4)[0]
    assert Allocation.from_json(allocation.to_json(), again) == allocation
    assert allocation.values[0] in space.slots[0].options
    assert space.allocation(allocation.values) == allocation


def test_offspring_keep_the_limits(space):
    parents = space.sample_choices(4, 1)
    assert keeps_limits(space, breed(space, parents, count=200, seed=2))


def measure(allocation: Allocation) -> Record:
    """Damage adds up: half of it from narrowing late blocks, half from rounding early ones."""
    damage = 0.0
    for slot, (channels, bits) in zip(allocation.space.slots, allocation.values, strict=True):
        damage += (1 + slot.block) * math.log(128 / channels) ** 2 + (6 - slot.block) * math.log(
            8 / bits
        ) ** 2
    return Record(
        setting="toy", values=allocation.values, source="slice", seed=0, steps=0, fidelity=0.0,
        metrics={"loss": 3.0 + 0.01 * damage, "loss_reference": 3.0},
        costs={"bytes": allocation.cost("bytes"), "tokens": 100},
    )  # fmt: skip


@pytest.mark.parametrize("name", ["ridge", "gaussian_process", "boosted_trees"])
def test_predictors_order_allocations_after_some_records(space, name):
    allocations = space.sample(80, seed=3)
    records = [measure(allocation) for allocation in allocations]
    predictor = make_predictor(name).update(space, records[:60])
    predicted = predictor.predict(space, allocations[60:]).mean
    gains = [record.gain for record in records[60:]]
    assert np.corrcoef(predicted, gains)[0, 1] > 0.5
    origin = np.asarray([space.origin])
    assert predictor.predict(space, origin).mean[0] == 0.0


def test_a_guided_search_beats_random(space):
    guided = Search(space, make_predictor("ridge"), candidates=300).run(measure, evaluations=24)
    best = max(record.gain for record in guided.records)
    random = max(measure(allocation).gain for allocation in draw_random(space, 24, seed=5))
    assert best > random
