from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import norm

from rankadaptor.errors import InputError
from rankadaptor.predictor import Prediction
from rankadaptor.search import draw_random, linear_in_depth, uniform
from rankadaptor.search.candidates import breed, draw_candidates
from rankadaptor.search.initial_design import choose_apart
from rankadaptor.search.proposals import score_expected_improvement, score_thompson
from tests.predictor.oracle import make_space


def test_importing_search_and_predictors_does_not_import_torch() -> None:
    code = "import sys, rankadaptor.search, rankadaptor.predictor; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_expected_improvement_is_the_textbook_one_and_orders_hopeless_candidates() -> None:
    rng = np.random.default_rng(0)
    mean, std = rng.normal(size=50), rng.uniform(0.1, 2.0, size=50)
    z = (mean - 0.4) / std
    expected = std * (norm.pdf(z) + z * norm.cdf(z))
    scores = score_expected_improvement(Prediction(mean, std), 0.4, 0)
    np.testing.assert_allclose(np.exp(scores), expected, rtol=1e-3)
    hopeless = Prediction(np.array([-50.0, -100.0, -200.0]), np.ones(3))
    scores = score_expected_improvement(hopeless, 0.0, 0)
    assert np.isfinite(scores).all()
    assert (np.diff(scores) < 0).all()


def test_thompson_takes_a_joint_draw_where_there_is_one() -> None:
    draws = np.array([[1.0, 2.0], [4.0, 3.0]])
    prediction = Prediction(np.zeros(2), np.ones(2), draws=draws)
    assert {tuple(score_thompson(prediction, 0.0, draw)) for draw in range(4)} == {(1.0, 2.0), (4.0, 3.0)}
    assert score_thompson(Prediction(np.zeros(2), np.ones(2)), 0.0, 1).shape == (2,)


@pytest.mark.parametrize("slots", ["block", "linear"])
def test_candidates_are_inside_distinct_and_new(slots: str) -> None:
    space = make_space(blocks=3, slots=slots)
    seen = {space.reference, *(a.values for a in space.sample(20, seed=1))}
    parents = np.array([space.reference])
    pool = draw_candidates(space, count=400, parents=parents, seen=seen, seed=1)
    rows = set(map(tuple, pool.tolist()))
    assert len(rows) == len(pool)
    assert not rows & seen
    assert (space.cost_array(pool) <= space.budget).all()
    assert all(space.contains(row) for row in list(rows)[:50])


def test_offspring_stay_near_their_parents() -> None:
    space = make_space(blocks=4)
    parents = np.array([space.reference])
    moved = (breed(space, parents, count=300, seed=0) != parents).sum(axis=1)
    assert np.median(moved) < space.n_slots / 2
    np.testing.assert_array_equal(
        breed(space, parents, count=5, seed=3), breed(space, parents, count=5, seed=3)
    )


def test_the_initial_design_is_spread_out() -> None:
    space = make_space(blocks=3)
    pool = space.sample_array(200, 0)
    none = np.zeros((0, space.n_slots), dtype=np.int64)
    chosen = choose_apart(space, pool, none, count=6)
    one_by_one = choose_apart(space, pool, choose_apart(space, pool, none, count=1), count=1)
    np.testing.assert_array_equal(chosen[1], one_by_one[0])

    def nearest(rows: np.ndarray) -> float:
        logs = np.log1p(rows)
        gaps = np.linalg.norm(logs[:, None] - logs[None], axis=2)
        return float(gaps[~np.eye(len(rows), dtype=bool)].min())

    assert nearest(chosen) > np.mean([nearest(pool[6 * i : 6 * i + 6]) for i in range(20)])


def test_baselines_use_the_budget_and_mean_what_they_say() -> None:
    space = make_space(blocks=6)
    assert uniform(space).is_uniform
    drawn = draw_random(space, 5, seed=1)
    assert len(set(drawn)) == 5
    assert not any(allocation.is_uniform for allocation in drawn)
    rising, falling = linear_in_depth(space, slope=0.5), linear_in_depth(space, slope=-0.5)
    blocks = np.array([slot.block for slot in space.slots])
    for allocation, sign in ((rising, 1), (falling, -1)):
        values = np.array(allocation.values)
        assert sign * (values[blocks >= 3].mean() - values[blocks < 3].mean()) > 1
        assert space.is_filled(allocation.values)
    with pytest.raises(InputError, match="-1 to 1"):
        linear_in_depth(space, slope=2.0)
