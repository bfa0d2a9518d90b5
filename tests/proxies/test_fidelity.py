from __future__ import annotations

import numpy as np
import pytest

from rankadaptor.errors import InputError
from rankadaptor.proxies import judge_fidelity


def draw(count: int, noise: float) -> tuple[dict, dict]:
    generator = np.random.default_rng(0)
    truth = generator.normal(size=count)
    seen = truth + noise * generator.normal(size=count)
    keys = [(index,) for index in range(count)]
    return dict(zip(keys, seen.tolist(), strict=True)), dict(zip(keys, truth.tolist(), strict=True))


def test_a_perfect_measure_and_its_opposite():
    _, full = draw(12, 0)
    same = judge_fidelity({key: 7 * gain + 3 for key, gain in full.items()}, full)
    assert (same.kendall, same.spearman, same.top1_regret) == (1, pytest.approx(1), 0)
    assert same.kendall_low == pytest.approx(1)
    assert same.p_value < 0.001
    other = judge_fidelity({key: -gain for key, gain in full.items()}, full)
    assert (other.kendall, other.spearman) == (-1, pytest.approx(-1))
    assert other.p_value > 0.999
    assert other.top1_regret == max(full.values()) - min(full.values())


def test_intervals_hold_the_estimate_and_narrow_with_more_allocations():
    few, many = (judge_fidelity(*draw(count, 1.0)) for count in (12, 100))
    for judged in (few, many):
        assert judged.kendall_low < judged.kendall < judged.kendall_high
        assert judged.spearman_low < judged.spearman < judged.spearman_high
    assert many.kendall_high - many.kendall_low < 0.6 * (few.kendall_high - few.kendall_low)
    assert judge_fidelity(*draw(12, 1.0)) == few


def test_only_allocations_with_both_count_and_four_are_needed():
    cheap, full = draw(10, 0.1)
    cheap[(99,)] = 3.0
    assert judge_fidelity(cheap, full).allocations == 10
    assert judge_fidelity(dict.fromkeys(full, 1.0), full).kendall == 0
    with pytest.raises(InputError, match="3 allocations"):
        judge_fidelity(dict(list(cheap.items())[:3]), full)
    with pytest.raises(InputError, match="finite"):
        judge_fidelity({**cheap, (0,): float("nan")}, full)
