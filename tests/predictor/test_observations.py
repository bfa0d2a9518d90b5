from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from rankadaptor.components.adapter import RankSpace
from rankadaptor.corpus import Record
from rankadaptor.features import choices_array
from rankadaptor.predictor import make_predictor
from rankadaptor.predictor.observations import OUTLIER, gather_observations
from rankadaptor.search import draw_random
from tests.predictor.oracle import make_oracle, make_space, with_losses


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
    long = with_losses(dataclasses.replace(short, steps=100), loss=3.5)
    for records in ([short, long], [long, short]):
        observed = gather_observations(space, records)
        np.testing.assert_allclose(observed.gains, [0.5])
        assert observed.counts[0] == 1


def test_spread_ignores_one_outlier_and_is_never_zero() -> None:
    space = make_space(blocks=2)
    oracle = make_oracle(space, seed=0)
    records = [oracle(a) for a in space.sample(20, seed=1)]
    usual = gather_observations(space, records).spread
    broken = [*records, with_losses(oracle(space.sample(1, seed=9)[0]), loss=50.0)]
    assert gather_observations(space, broken).spread < 1.5 * usual
    assert gather_observations(space, []).spread == 1.0


def _measure_with_one_broken(gain: float) -> tuple[RankSpace, list[Record]]:
    """True gains of SD 0.004 and a noise of 0.001; six allocations three times, one run of them broken."""
    space, rng = make_space(blocks=3), np.random.default_rng(0)
    oracle = make_oracle(space, seed=0)
    allocations = draw_random(space, 24, seed=1)
    true = oracle.true_gains(choices_array(allocations))
    true *= 0.004 / true.std()
    records = []
    for seed in range(3):
        for place, allocation in enumerate(allocations[: None if seed == 0 else 6]):
            measured = true[place] + 0.001 * rng.standard_normal()
            measured = gain if (place, seed) == (5, 0) else measured
            records.append(with_losses(oracle(allocation, seed=seed), loss=-measured, reference=0.0))
    return space, records


@pytest.mark.parametrize("name", ["ridge", "boosted_trees", "perceptron", "ensemble"])
@pytest.mark.parametrize("repeats", [True, False])
def test_one_broken_run_does_not_wipe_out_what_a_search_knows(name: str, repeats: bool) -> None:
    means, noises = [], []
    for gain in (-3.0, -0.004):
        space, records = _measure_with_one_broken(gain)
        told = records if repeats else records[:24]
        prediction = make_predictor(name).update(space, told).predict(space, space.sample_choices(200, 7))
        means.append(prediction.mean)
        noises.append(prediction.noise)
    assert means[0].std() > 0.7 * means[1].std()
    assert noises[0] < 0.005


def test_far_gains_that_are_no_break_stay_to_the_last_bit() -> None:
    space, records = _measure_with_one_broken(-0.1)
    observed = gather_observations(space, records[:24])
    assert observed.gains.min() < -20 * observed.spread
    np.testing.assert_array_equal(observed.gains, [record.gain for record in records[:24]])
    space, records = _measure_with_one_broken(-3.0)
    broken = gather_observations(space, records[:24])
    whole = np.delete(np.array([record.gain for record in records[:24]]), 5)
    np.testing.assert_array_equal(np.delete(broken.gains, 5), whole)
    assert broken.gains[5] <= min(whole.min(), -OUTLIER * broken.spread)  # still the worst
    assert gather_observations(space, records).noise < 0.005
