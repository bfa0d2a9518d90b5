"""The mean gain over settings, and its interval."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.compare.pooling import pool_gains
from rankadaptor.errors import InputError
from rankadaptor.verdict import judge_gains


def test_one_setting_is_judged_as_alone() -> None:
    gains = [0.01, 0.02, -0.005, 0.012, 0.004]
    one, alone = pool_gains([gains]), judge_gains(gains)
    assert (one.gain, one.low, one.high) == pytest.approx((alone.gain, alone.low, alone.high))
    assert one.outcome == alone.outcome


def test_the_interval_holds_the_mean_of_settings_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    means, noises = generator.normal(size=6), np.array([0.1, 0.1, 0.3, 0.5, 1.0, 4.0])
    inside = []
    for _ in range(1000):
        judged = pool_gains(
            [generator.normal(m, noise, size=5) for m, noise in zip(means, noises, strict=True)]
        )
        assert judged.low is not None
        assert judged.high is not None
        inside.append(judged.low <= means.mean() <= judged.high)
    assert 0.93 < np.mean(inside) < 0.98


def test_settings_that_equal_uniform_count_as_zero_without_noise() -> None:
    judged = pool_gains([[0.0] * 5, [0.02, 0.021, 0.019, 0.02, 0.02]])
    assert judged.gain == pytest.approx(0.01)
    assert judged.outcome == "better"
    assert pool_gains([[0.0] * 5]).outcome == "no difference"


def test_what_cannot_be_pooled_is_refused() -> None:
    with pytest.raises(InputError, match="two gains in each"):
        pool_gains([[0.1], [0.1, 0.2]])
    with pytest.raises(InputError, match="0 settings"):
        pool_gains([])
