from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau

from rankadaptor.errors import InputError
from rankadaptor.predictor import assess_predictor, make_predictor
from rankadaptor.predictor.contest import judge_setting
from rankadaptor.predictor.evidence import Evidence
from rankadaptor.predictor.quality import compute_kendall, judge_predictions
from rankadaptor.search import draw_random
from tests.predictor.oracle import make_oracle, make_space, measure_sample, with_losses


def test_kendall_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    one, two = rng.integers(5, size=40).astype(float), rng.normal(size=40)
    assert compute_kendall(one, two) == pytest.approx(kendalltau(one, two).statistic)
    assert compute_kendall(np.zeros(4), two[:4]) == 0.0


def test_signal_stands_out_of_the_null_and_below_the_ceiling() -> None:
    space = make_space(blocks=3)
    oracle = make_oracle(space, seed=1, noise=0.5)
    records = [oracle(a, seed=s) for a in draw_random(space, 40, seed=0) for s in range(2)]
    quality = assess_predictor(make_predictor("ridge"), space, records)
    assert quality.kendall > quality.null_kendall
    assert quality.p_value < 0.05
    assert quality.ceiling is not None
    assert quality.null_kendall < quality.ceiling < 1.0
    chosen = quality.measured[np.argmax(quality.predicted)]
    assert quality.top1_regret == pytest.approx(quality.measured.max() - chosen)
    assert quality.to_json()["allocations"] == 40


def test_the_ceiling_is_the_benchmarks_and_leaves_uniforms_luck_out() -> None:
    space = make_space(blocks=3)
    oracle = make_oracle(space, seed=1, noise=0.3)
    lucky = [
        with_losses(record, reference=record.loss_reference + luck * oracle.noise)
        for seed, luck in enumerate((-5.0, 0.0, 5.0))
        for record in (oracle(a, seed=seed) for a in draw_random(space, 30, seed=0))
    ]
    quality = assess_predictor(make_predictor("ridge"), space, lucky, support=8)
    (judged,) = judge_setting(make_predictor("ridge"), Evidence("lucky", space, tuple(lucky)), counts=(8,))
    assert quality.ceiling == judged["ceiling"]
    assert quality.ceiling > 0.7


def test_without_signal_there_is_nothing_to_find() -> None:
    rng = np.random.default_rng(3)
    quality = judge_predictions(rng.normal(size=40), rng.normal(size=40))
    assert quality.kendall < quality.null_kendall
    assert quality.ceiling is None


def test_support_limits_what_is_learned_from() -> None:
    space = make_space(blocks=3)
    records = measure_sample(make_oracle(space, seed=1), 30)
    assert len(assess_predictor(make_predictor("ridge"), space, records, support=10).measured) == 20
    assert assess_predictor(make_predictor("ridge"), space, records, support=0).kendall == 0.0
    with pytest.raises(InputError, match="at least 4"):
        assess_predictor(make_predictor("ridge"), space, records, support=28)
