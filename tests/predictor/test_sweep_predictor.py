from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest

from rankadaptor.corpus import Record
from rankadaptor.predictor.baselines.measured import Measured
from rankadaptor.predictor.damage.posterior import add_rest, factorise
from rankadaptor.predictor.quality import compute_kendall
from rankadaptor.predictor.sweep_predictor import SweepPredictor
from rankadaptor.search import estimate_slot_values, plan_sweep, solve_exact
from rankadaptor.space import Space
from rankadaptor.space.moves import trade
from tests.predictor.oracle import as_failed
from tests.space.joint import JointOracle, make_joint_oracle, make_joint_space


@pytest.fixture(scope="module")
def space() -> Space:
    return make_joint_space(size=0.5)


@pytest.fixture(scope="module")
def oracle(space: Space) -> JointOracle:
    return make_joint_oracle(space, seed=5)


@pytest.fixture(scope="module")
def predictor(space: Space, oracle: JointOracle) -> SweepPredictor:
    return SweepPredictor(estimate_slot_values(space, oracle.measure(plan_sweep(space, evaluations=90))))


@pytest.fixture(scope="module")
def near(space: Space, predictor: SweepPredictor) -> np.ndarray:
    """Allocations near the optimum of the sweep, where the sweep orders worst."""
    centre = np.array([solve_exact(space, predictor.values)])
    return np.unique(trade(space, trade(space, centre, count=40, seed=0), count=400, seed=1), axis=0)


@pytest.fixture(scope="module")
def records(space: Space, oracle: JointOracle, near: np.ndarray) -> list[Record]:
    return oracle.measure([space.from_choices(row) for row in near[::5].tolist()])


def test_records_improve_what_the_sweep_says(space, oracle, predictor, near, records):
    left_out = np.delete(near, np.s_[::5], axis=0)
    truth = -oracle.true_kl(left_out)
    before, after = (
        predictor.predict(space, left_out),
        predictor.update(space, records).predict(space, left_out),
    )
    assert compute_kendall(after.mean, truth) > max(compute_kendall(before.mean, truth), 0.8)
    errors = [np.abs(np.log(each.mean / truth)).mean() for each in (before, after)]
    assert errors[1] < 0.05 < errors[0]
    assert 0.5 < np.sqrt(np.mean(((after.mean - truth) / after.std) ** 2)) < 2.5  # honest intervals
    assert (after.std < before.std).all()


def test_it_keeps_the_contract_of_predictors(space, oracle, predictor, near, records):
    seen = predictor.update(space, records)
    again = seen.update(space, records)
    origin = np.array([space.origin])
    for each in (predictor, seen):
        prediction = each.predict(space, np.concatenate([origin, near[:3]]))
        assert prediction.mean[0] == prediction.std[0] == 0.0
        assert (prediction.mean[1:] < 0).all()
    np.testing.assert_array_equal(seen.predict(space, near).mean, again.predict(space, near).mean)
    measured = [space.find_choices(record.values) for record in records]
    known = seen.predict(space, np.array(measured))
    np.testing.assert_allclose(known.mean, [record.gain for record in records], rtol=1e-12)
    assert (known.std == 0).all()
    failed = [as_failed(records[0]), oracle(space.reference())]
    blank = predictor.update(space, failed).predict(space, near)
    np.testing.assert_array_equal(blank.mean, predictor.predict(space, near).mean)


def test_brief_measurements_count_less_than_whole_ones(space, oracle, predictor, near, records):
    few = [oracle(space.from_choices(space.find_choices(r.values)), tokens=500) for r in records]
    left_out = np.delete(near, np.s_[::5], axis=0)
    truth = -oracle.true_kl(left_out)

    def measure_error(given) -> float:
        predicted = predictor.update(space, given).predict(space, left_out).mean
        return float(np.abs(np.log(predicted / truth)).mean())

    mixed = [*records[::4], *few]
    assert measure_error(records) < measure_error(mixed) < measure_error([])
    prediction = predictor.update(space, mixed).predict(space, left_out[:5])
    assert (prediction.std > 0).all()


def test_a_hundred_thousand_candidates_take_about_a_second(space, predictor, records):
    seen = predictor.update(space, records[:60])
    drawn = np.tile(space.sample_choices(500, 0), (40, 1))
    start = time.perf_counter()
    seen.predict(space, drawn)
    assert time.perf_counter() - start < 20_000 / 100_000 * 5  # five times slower machines pass


def test_measured_knows_what_was_measured_and_nothing_else(space, records, near):
    seen = Measured().update(space, records)
    assert seen.predict(space, near[:1]).mean[0] == pytest.approx(records[0].gain)
    others = seen.predict(space, near[1:5]).mean
    assert np.ptp(others) == 0.0
    assert others[0] == min(record.gain for record in records)
    assert dataclasses.asdict(Measured())["pretrained"]


def test_many_records_close_to_one_another_do_not_break_the_fit():
    rng = np.random.default_rng(0)

    def draw(count: int) -> np.ndarray:
        common = rng.normal(size=(1, count)) / np.sqrt(count)
        return (common + 3e-4 * rng.normal(size=(120, count))).astype(np.float32)

    shared, own, errors = draw(10), draw(100), 9e-6 * np.eye(120)
    gram = (shared @ shared.T).astype(np.float64) + (own @ own.T).astype(np.float64)
    single = add_rest(gram, np.diag(gram), np.diag(gram), rest=0.2) + errors
    assert np.linalg.eigvalsh(single)[0] < -1e-6  # single precision alone has no factor
    factor = factorise(shared, own, errors, size=1.0, rest=0.2)
    np.testing.assert_allclose(factor @ factor.T, single, atol=1e-3)
