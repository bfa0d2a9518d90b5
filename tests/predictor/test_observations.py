from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from rankadaptor.predictor.observations import gather_observations
from rankadaptor.search import draw_random
from tests.predictor.oracle import make_oracle, make_space


def test_repeats_are_averaged_and_tell_the_noise() -> None:
    space = make_space(blocks=2)
    oracle = make_oracle(space, seed=0, size=0.01, noise=0.3)
    allocations = draw_random(space, 40, seed=1)
    observed = gather_observations(space, [oracle(a, seed=s) for s in range(4) for a in allocations])
    assert len(observed) == 40
    assert (observed.counts == 4).all()
    assert observed.noise == pytest.approx(oracle.noise, rel=0.25)
    assert gather_observations(space, [oracle(allocations[0])]).noise is None


def test_long_runs_replace_short_ones_of_the_same_allocation() -> None:
    space = make_space(blocks=2)
    short = make_oracle(space, seed=0)(space.sample(1, seed=1)[0])
    long = dataclasses.replace(short, steps=100, loss=3.5)
    for records in ([short, long], [long, short]):
        observed = gather_observations(space, records)
        np.testing.assert_allclose(observed.gains, [0.5])
        assert observed.counts[0] == 1


def test_spread_ignores_one_outlier_and_is_never_zero() -> None:
    space = make_space(blocks=2)
    oracle = make_oracle(space, seed=0)
    records = [oracle(a) for a in space.sample(20, seed=1)]
    usual = gather_observations(space, records).spread
    broken = [*records, dataclasses.replace(records[0], values=space.sample(1, seed=9)[0].values, loss=50.0)]
    assert gather_observations(space, broken).spread < 1.5 * usual
    assert gather_observations(space, []).spread == 1.0
