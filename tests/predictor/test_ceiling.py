from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from rankadaptor.predictor import ceiling
from rankadaptor.predictor.ceiling import simulate_null
from rankadaptor.predictor.rank_agreement import compute_kendall


def test_the_null_is_the_kendall_of_shuffles(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    measured, rows = rng.normal(size=20), [np.arange(4, 20), np.arange(12)]
    predicted = [rng.normal(size=len(each)) for each in rows]
    whole = simulate_null(predicted, measured, rows, count=30, seed=5)
    generator = np.random.default_rng(5)
    shuffled = [generator.permutation(measured) for _ in range(30)]
    expected = [
        np.mean([compute_kendall(p, s[r]) for p, r in zip(predicted, rows, strict=True)]) for s in shuffled
    ]
    np.testing.assert_allclose(whole, expected, atol=1e-6)
    monkeypatch.setattr(ceiling, "PAIRS", 1000)
    np.testing.assert_array_equal(simulate_null(predicted, measured, rows, count=30, seed=5), whole)


def test_the_null_of_many_allocations_takes_little_memory() -> None:
    measured = np.random.default_rng(0).normal(size=300)
    tracemalloc.start()
    simulate_null([measured], measured, [np.arange(300)], count=200, seed=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6  # all shuffles at once take 200 times 300 times 300 doubles and more, 144 MB
