"""NSGA-II on a predictor that learns from what is measured."""

from __future__ import annotations

import numpy as np
import pytest

from rankadaptor.errors import InputError
from rankadaptor.predictor import make_predictor
from rankadaptor.search.predicted_front import evolve_predicted
from tests.predictor.oracle import make_oracle, make_space


def test_it_finds_more_than_as_many_random_allocations_and_repeats() -> None:
    space = make_space(blocks=2)
    oracle = make_oracle(space, seed=0, noise=0.0)
    asked: list[int] = []

    def measure(allocations):
        asked.append(len(allocations))
        return [oracle(allocation) for allocation in allocations]

    start = [space.reference()]
    records = evolve_predicted(space, measure, make_predictor("ridge"), evaluations=40, seed=1, start=start)
    assert len(records) == 40 == sum(asked)
    assert max(asked) <= 10
    assert records[0].values == space.reference().values
    assert len({record.values for record in records}) == 40
    assert all(space.contains(record.values) for record in records)
    found = max(record.gain for record in records)
    assert found > oracle.true_gains(space.sample_choices(400, 0)).max()
    again = evolve_predicted(space, measure, make_predictor("ridge"), evaluations=40, seed=1, start=start)
    assert [record.values for record in again] == [record.values for record in records]
    sizes = np.array([space.allocation(record.values).cost(space.limits[0].resource) for record in records])
    assert len(np.unique(sizes)) > 5  # a front, not one size


def test_faults_are_named() -> None:
    space, other = make_space(blocks=2), make_space(blocks=3)
    with pytest.raises(InputError, match="at least 1 each"):
        evolve_predicted(space, lambda _: [], make_predictor("ridge"), evaluations=0, seed=0)
    with pytest.raises(InputError, match="another space"):
        evolve_predicted(
            space, lambda _: [], make_predictor("ridge"), evaluations=4, seed=0, start=[other.reference()]
        )
