from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankadaptor.errors import BudgetError, InputError
from rankadaptor.features import SlotValues
from rankadaptor.search import solve_exact
from rankadaptor.space import Limit, Slot, Space
from tests.space.joint import make_joint_oracle, make_joint_space


def draw_space(seed: int) -> tuple[Space, np.ndarray]:
    """Few slots of different lengths, two resources, one slot pinned, values of both signs."""
    rng = np.random.default_rng(seed)
    slots = []
    for index in range(int(rng.integers(2, 5))):
        count = int(rng.integers(1, 5))
        slots.append(
            Slot(
                name=f"s{index}",
                component="toy",
                modules=(),
                options=tuple(range(count)),
                costs=tuple((name, tuple(rng.integers(0, 20, count).tolist())) for name in ("bytes", "time")),
                coordinates=((0.0,),) * count,
                block=index,
                kind="toy",
                pinned=int(rng.integers(count)) if index == 1 else None,
            )
        )
    costs = [
        np.array([slot.costs_in(name) + (0,) * (4 - len(slot.options)) for slot in slots])
        for name in ("bytes", "time")
    ]
    inside = [
        slot.pinned if slot.pinned is not None else int(rng.integers(len(slot.options))) for slot in slots
    ]
    bounds = [int(cost[np.arange(len(slots)), inside].sum()) + int(rng.integers(0, 6)) for cost in costs]
    space = Space(
        tuple(slots), (Limit("bytes", bounds[0]), Limit("time", bounds[1])),
        references=(("first", tuple(slot.pinned or 0 for slot in slots)),),
    )  # fmt: skip
    return space, rng.normal(size=space.tables.costs[0].shape)


def list_all(space: Space) -> list[tuple[int, ...]]:
    every = itertools.product(
        *(range(len(slot.options)) if slot.pinned is None else (slot.pinned,) for slot in space.slots)
    )
    return [
        row
        for row in every
        if all(space.sum_costs([row], each.resource)[0] <= each.bound for each in space.limits)
    ]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_it_finds_what_trying_everything_finds(seed):
    space, values = draw_space(seed)
    every = list_all(space)

    def total(row) -> float:
        return float(values[np.arange(space.n_slots), list(row)].sum())

    ordered = sorted(every, key=total)
    found = solve_exact(space, values, gap=0.0)
    assert found in every
    assert total(found) == pytest.approx(total(ordered[0]), abs=1e-9)
    if len(ordered) > 2:
        third = solve_exact(space, values, excluded=ordered[:2], gap=0.0)
        assert total(third) == pytest.approx(total(ordered[2]), abs=1e-9)
        assert third not in ordered[:2]
    centre = ordered[-1]
    near = [row for row in every if sum(a != b for a, b in zip(row, centre, strict=True)) <= 1]
    found = solve_exact(space, values, around=centre, changes=1, gap=0.0)
    assert total(found) == pytest.approx(min(map(total, near)), abs=1e-9)


def test_a_model_of_61_slots_takes_seconds_at_most_and_keeps_two_limits():
    space = make_joint_space(size=0.55, macs=0.75)
    oracle = make_joint_oracle(space, seed=0)
    values = SlotValues.of_rows(space, oracle.damages)
    start = time.perf_counter()
    found = solve_exact(space, values)
    assert time.perf_counter() - start < 5.0
    best = values.sum_values(space, np.array([found]))[0]
    assert space.from_choices(found).cost("macs") <= space.bounds[1]
    assert best < values.sum_values(space, space.sample_choices(2000, 0)).min()
    others = solve_exact(space, values, excluded=[found], around=found, changes=2)
    assert 1 <= sum(a != b for a, b in zip(others, found, strict=True)) <= 2
    assert best <= values.sum_values(space, np.array([others]))[0] * (1 + 1e-3)


def test_what_cannot_be_kept_names_the_nearest_bound():
    space = make_joint_space(blocks=3, size=0.6)
    values = np.zeros(space.tables.costs[0].shape)
    least = int(space.tables.costs[0].min(axis=1).sum())
    with pytest.raises(BudgetError, match=rf"bytes from {least:,} on \(given 5,000\)"):
        solve_exact(space, values, limits=[Limit("bytes", 5000)])
    only = space.sample_choices(1, 0)[0].tolist()
    with pytest.raises(InputError, match="around"):
        solve_exact(space, values, changes=2)
    tiny = Space(space.slots[-1:], (), references=(("dense", (0,)),))
    with pytest.raises(InputError, match="1 are excluded"):
        solve_exact(tiny, np.zeros((1, 1)), excluded=[(0,)])
    with pytest.raises(InputError, match="shape"):
        solve_exact(space, values[:2], around=only)
