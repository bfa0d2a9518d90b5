from __future__ import annotations

import numpy as np
import pytest

from rankadaptor.predictor.calibration import assign_folds, calibrate


def test_good_predictions_are_kept_and_useless_ones_shrunk_to_nothing() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=60)
    good = calibrate(truth + 0.1 * rng.normal(size=60), truth)
    useless = calibrate(rng.normal(size=60), truth)
    assert good.factor > 0.9
    assert useless.factor < 0.2
    assert useless.apply(truth, np.ones(60)).mean.std() < 0.2


def test_exaggerated_predictions_are_scaled_down() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=80)
    assert calibrate(truth + 0.1 * rng.normal(size=80), 3.0 * truth).factor == pytest.approx(1 / 3, abs=0.05)


def test_without_evidence_the_prior_speaks() -> None:
    cautious = calibrate(np.zeros(0), np.zeros(0), zero_probability=0.5)
    trusting = calibrate(np.zeros(0), np.zeros(0), zero_probability=0.2)
    assert cautious.factor == pytest.approx(0.5 * 0.5, abs=0.02)
    assert trusting.factor == pytest.approx(0.8 * 0.5, abs=0.02)


def test_too_small_a_standard_deviation_is_stretched_until_it_covers() -> None:
    rng = np.random.default_rng(2)
    truth, std = rng.normal(size=200), np.full(200, 0.1)
    unseen = truth + 0.25 * rng.normal(size=200)
    calibration = calibrate(truth + 0.05 * rng.normal(size=200), unseen, left_out_std=std, noise=0.05)
    prediction = calibration.apply(unseen, std)
    assert 0.55 < np.mean(np.abs(prediction.mean - truth) < prediction.std) < 0.85
    assert calibration.noise == 0.05


def test_folds_are_even_and_leave_one_out_when_few() -> None:
    assert sorted(assign_folds(5, folds=8, seed=0)) == [0, 1, 2, 3, 4]
    assert np.bincount(assign_folds(20, folds=8, seed=0)).tolist() == [3, 3, 3, 3, 2, 2, 2, 2]
