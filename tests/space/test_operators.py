from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankadaptor.errors import BudgetError, InputError
from rankadaptor.space import Allocation, RankSpace, Space, cross, mutate
from tests.space.shapes import SPACES, build_linears
from tests.space.test_space import assert_inside_and_filled

SEEDS = st.integers(0, 2**32)


@settings(max_examples=60, deadline=None)
@given(space=SPACES, seed=SEEDS, rate=st.floats(0.01, 1.0))
def test_every_mutation_is_inside_and_filled(space: Space, seed: int, rate: float) -> None:
    assert_inside_and_filled(space, mutate(space, space.uniform(), seed=seed, rate=rate).values)


@settings(max_examples=60, deadline=None)
@given(space=SPACES, seed=SEEDS)
def test_every_crossing_is_inside_and_filled(space: Space, seed: int) -> None:
    parents = space.sample(2, seed=seed)
    assert_inside_and_filled(space, cross(space, parents[0], parents[-1], seed=seed).values)


def test_a_mutation_differs_and_stays_near() -> None:
    space = RankSpace.from_linears(build_linears(12), like_uniform=8)
    parent = space.sample(1, seed=0)[0]
    changed = []
    for seed in range(30):
        child = mutate(space, parent, seed=seed, rate=0.05)
        assert child != parent
        assert child == mutate(space, parent, seed=seed, rate=0.05)
        changed.append(sum(a != b for a, b in zip(child.values, parent.values, strict=True)))
    assert sum(changed) / len(changed) < space.n_slots / 3


def test_a_crossing_of_equal_parents_is_the_parent_and_mixes_others() -> None:
    space = RankSpace.from_linears(build_linears(12), like_uniform=8)
    one, other = space.sample(2, seed=1)
    assert cross(space, one, one, seed=0) == one
    child = cross(space, one, other, seed=0)
    inherited = [c in (a, b) for c, a, b in zip(child.values, one.values, other.values, strict=True)]
    assert sum(inherited) > 0.5 * space.n_slots
    assert child not in (one, other)


def test_strangers_and_bad_rates_are_refused() -> None:
    space = RankSpace.from_linears(build_linears(3), like_uniform=4, slots="block")
    stranger = Allocation((64, 64, 64), space)
    with pytest.raises(BudgetError):
        mutate(space, stranger, seed=0)
    with pytest.raises(BudgetError):
        cross(space, space.uniform(), stranger, seed=0)
    with pytest.raises(InputError, match="0 < rate ≤ 1"):
        mutate(space, space.uniform(), seed=0, rate=0.0)


def test_a_space_of_one_allocation_mutates_into_itself() -> None:
    space = RankSpace.from_linears(build_linears(2), like_uniform=4, ranks=(4,), slots="block")
    assert mutate(space, space.uniform(), seed=0) == space.uniform()
