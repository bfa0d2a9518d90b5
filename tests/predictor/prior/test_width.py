"""Intervals before the first record: narrower where one wild setting has widened the prior."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from rankadaptor.components.adapter import RankSpace
from rankadaptor.predictor import MetaPredictor
from rankadaptor.predictor.observations import Observations, gather_observations
from rankadaptor.predictor.prior.hierarchy import Hierarchy, fit_hierarchy
from rankadaptor.predictor.prior.width import SETTINGS, calibrate_width
from tests.predictor.oracle import make_oracle, make_space, measure_sample, with_losses

SHARED = 7
Setting = tuple[RankSpace, Observations]


def measure(seed: int, *, wild: float = 1.0) -> Setting:
    space = make_space(blocks=3 + seed % 3)
    records = measure_sample(make_oracle(space, seed=200 + seed, shared=SHARED), 20, seed=seed)
    wilder = [with_losses(r, loss=(r.loss_reference or 0.0) - wild * (r.gain or 0.0)) for r in records]
    return space, gather_observations(space, wilder)


@pytest.fixture(scope="module")
def settings() -> list[Setting]:
    return [measure(seed, wild=200.0 if seed == 0 else 1.0) for seed in range(12)]  # one in twelve is wild


@pytest.fixture(scope="module")
def raw(settings: list[Setting]) -> Hierarchy:
    return fit_hierarchy(settings)


def test_one_wild_setting_does_not_make_every_interval_useless(
    settings: list[Setting], raw: Hierarchy
) -> None:
    set_right = calibrate_width(raw, settings)
    assert set_right.width < 0.5
    inside = []
    for seed in range(20, 26):
        space, observations = measure(seed)
        prediction = MetaPredictor(hierarchy=set_right).predict(space, observations.choices)
        inside.append(
            np.mean(
                np.abs(observations.gains - prediction.mean)
                <= 1.645 * np.hypot(prediction.std, prediction.noise)
            )
        )
    assert np.mean(inside) > 0.8


def test_only_what_is_said_of_the_width_changes_and_fades_with_records(raw: Hierarchy) -> None:
    space = make_space(blocks=4)
    records = measure_sample(make_oracle(space, seed=300, shared=SHARED), 8)
    choices = space.sample_choices(30, 1)
    plain, narrow = MetaPredictor(raw), MetaPredictor(dataclasses.replace(raw, width=0.25))
    for told, factor in ((0, 0.25), (1, 0.25**0.25), (8, 0.25 ** (1 / 81))):
        before = plain.update(space, records[:told]).predict(space, choices)
        after = narrow.update(space, records[:told]).predict(space, choices)
        assert np.array_equal(before.mean, after.mean)
        assert before.draws is not None
        assert after.draws is not None
        assert np.array_equal(before.draws, after.draws)
        assert after.std == pytest.approx(factor * before.std)
        assert after.noise == pytest.approx(factor * before.noise)


def test_few_settings_leave_the_prior_as_it_is(settings: list[Setting], raw: Hierarchy) -> None:
    assert calibrate_width(raw, settings[: SETTINGS - 1]) is raw


def test_the_width_survives_saving(raw: Hierarchy, tmp_path) -> None:  # type: ignore[no-untyped-def]
    MetaPredictor(dataclasses.replace(raw, width=0.3)).save_pretrained(tmp_path)
    read = MetaPredictor.from_pretrained(tmp_path)
    assert isinstance(read, MetaPredictor)
    assert read.hierarchy.width == 0.3
