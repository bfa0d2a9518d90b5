from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import norm

from rankadaptor.predictor import Prediction
from rankadaptor.search import draw_random
from rankadaptor.search.candidates import draw_candidates
from rankadaptor.search.initial_design import choose_apart
from rankadaptor.search.proposals import score_expected_improvement, score_thompson
from rankadaptor.space import breed
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
    seen = {space.origin, *(a.choices for a in space.sample(20, seed=1))}
    parents = np.array([space.origin])
    pool = draw_candidates(space, count=400, parents=parents, seen=seen, seed=1)
    rows = set(map(tuple, pool.tolist()))
    assert len(rows) == len(pool)
    assert not rows & seen
    assert (space.sum_costs(pool, space.limits[0].resource) <= space.bounds[0]).all()
    assert all(space.contains(labels) for labels in space.read_labels(pool[:50]))


def test_offspring_stay_near_their_parents() -> None:
    space = make_space(blocks=4)
    parents = np.array([space.origin])
    moved = (breed(space, parents, count=300, seed=0) != parents).sum(axis=1)
    assert np.median(moved) < space.n_slots / 2
    np.testing.assert_array_equal(
        breed(space, parents, count=5, seed=3), breed(space, parents, count=5, seed=3)
    )


def test_the_initial_design_is_spread_out() -> None:
    space = make_space(blocks=3)
    pool = space.sample_choices(200, 0)
    none = np.zeros((0, space.n_slots), dtype=np.int64)
    chosen = choose_apart(space, pool, none, count=6)
    one_by_one = choose_apart(space, pool, choose_apart(space, pool, none, count=1), count=1)
    np.testing.assert_array_equal(chosen[1], one_by_one[0])

    def nearest(rows: np.ndarray) -> float:
        logs = np.log1p(np.array(space.read_labels(rows)))
        gaps = np.linalg.norm(logs[:, None] - logs[None], axis=2)
        return float(gaps[~np.eye(len(rows), dtype=bool)].min())

    assert nearest(chosen) > np.mean([nearest(pool[6 * i : 6 * i + 6]) for i in range(20)])


def test_random_allocations_are_distinct_and_none_is_the_reference() -> None:
    space = make_space(blocks=6)
    drawn = draw_random(space, 5, seed=1)
    assert len(set(drawn)) == 5
    assert not any(allocation.is_reference for allocation in drawn)
    assert all(space.is_filled(allocation) for allocation in drawn)
