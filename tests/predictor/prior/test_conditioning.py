from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from rankadaptor.components.adapter import RankSpace
from rankadaptor.predictor.observations import gather_observations
from rankadaptor.predictor.prior import conditioning
from rankadaptor.predictor.prior.conditioning import condition
from rankadaptor.predictor.prior.hierarchy import Hierarchy, fit_hierarchy
from tests.predictor.oracle import make_oracle, make_space, measure_sample


@pytest.fixture(scope="module")
def space() -> RankSpace:
    return make_space(blocks=3)


@pytest.fixture(scope="module")
def hierarchy(space: RankSpace) -> Hierarchy:
    return fit_hierarchy(
        [
            (space, gather_observations(space, measure_sample(make_oracle(space, seed=s, shared=7), 16)))
            for s in range(3)
        ]
    )


def test_a_few_combinations_at_a_time_say_the_same_to_the_last_bit(
    space: RankSpace, hierarchy: Hierarchy, monkeypatch: pytest.MonkeyPatch
) -> None:
    observations = gather_observations(space, measure_sample(make_oracle(space, seed=9, shared=7), 12))
    whole = condition(hierarchy, space, observations)
    for numbers in (1, 5000):
        monkeypatch.setattr(conditioning, "NUMBERS", numbers)
        parts = condition(hierarchy, space, observations)
        np.testing.assert_array_equal(parts.mean, whole.mean)
        np.testing.assert_array_equal(parts.root, whole.root)
        assert parts.noise == whole.noise


def test_many_records_take_little_memory(space: RankSpace, hierarchy: Hierarchy) -> None:
    observations = gather_observations(space, measure_sample(make_oracle(space, seed=9, shared=7), 200))
    tracemalloc.start()
    condition(hierarchy, space, observations)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150e6  # 630 covariances of 200 records are 200 MB, and several of them were held
