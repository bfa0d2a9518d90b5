"""Predictors made of something else: a cheap score, other predictors, a pooled corpus."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.predictors.corpus_trees import train_trees
from rankadaptor.components.adapter import RankSpace
from rankadaptor.features import ScoreTable
from rankadaptor.predictor import Ensemble, ScorePredictor, make_predictor, meta_train
from rankadaptor.predictor.evidence import list_evidence
from rankadaptor.predictor.rank_agreement import compute_kendall
from tests.predictor.oracle import make_oracle, make_space, measure_sample


@pytest.fixture(scope="module")
def space() -> RankSpace:
    return make_space(blocks=4)


def make_table(space: RankSpace, weights: np.ndarray) -> ScoreTable:
    option_scores = tuple(
        tuple(float(weight * np.log1p(option)) for option in slot.options)
        for slot, weight in zip(space.slots, weights, strict=True)
    )
    return ScoreTable("worth", space.digest, tuple(slot.options for slot in space.slots), option_scores)


def test_a_score_orders_at_once_and_finds_its_scale_online(space: RankSpace) -> None:
    oracle = make_oracle(space, seed=1, noise=0.3)
    choices = space.sample_choices(200, 5)
    truth = oracle.true_gains(choices)
    predictor = ScorePredictor(make_table(space, 1e6 * oracle.weights), name="score:worth")
    blind = predictor.predict(space, choices)
    assert compute_kendall(blind.mean, truth) == pytest.approx(1.0)
    seen = predictor.update(space, measure_sample(oracle, 24)).predict(space, choices)
    assert np.polyfit(seen.mean, truth, 1)[0] == pytest.approx(1.0, abs=0.35)
    uniform = predictor.predict(space, [space.reference()])
    assert (uniform.mean[0], uniform.std[0]) == (0.0, 0.0)


def test_a_score_that_misleads_is_found_out(space: RankSpace) -> None:
    oracle = make_oracle(space, seed=1, noise=0.3)
    predictor = ScorePredictor(make_table(space, -oracle.weights))
    learned = predictor.update(space, measure_sample(oracle, 16))
    choices = space.sample_choices(100, 5)
    assert compute_kendall(learned.predict(space, choices).mean, oracle.true_gains(choices)) > 0.5


def test_an_ensemble_listens_to_the_member_that_foresees(space: RankSpace) -> None:
    oracle = make_oracle(space, seed=1, noise=0.2)
    good = ScorePredictor(make_table(space, oracle.weights), name="good")
    poor = ScorePredictor(make_table(space, np.random.default_rng(0).exponential(size=28)), name="poor")
    ensemble = Ensemble((poor, good, make_predictor("ridge")))
    assert ensemble.pretrained
    choices = space.sample_choices(100, 5)
    assert compute_kendall(ensemble.predict(space, choices).mean, oracle.true_gains(choices)) > 0.3
    learned = ensemble.update(space, measure_sample(oracle, 16))
    assert int(np.argmax(learned.weights)) == 1
    assert sum(learned.weights) == pytest.approx(1.0)
    assert compute_kendall(learned.predict(space, choices).mean, oracle.true_gains(choices)) > 0.8
    assert ensemble.update(space, []).weights == ()


def test_pooled_trees_carry_over_less_than_the_hierarchy(space: RankSpace) -> None:
    settings = [
        (
            make_space(blocks=b),
            measure_sample(make_oracle(make_space(blocks=b), seed=b, shared=7), 30, seed=b),
        )
        for b in (3, 4, 5, 6)
    ]
    trees, meta = train_trees(list_evidence(settings)), meta_train(settings)
    choices, taus = space.sample_choices(150, 9), []
    for seed in range(3):
        truth = make_oracle(space, seed=700 + seed, shared=7).true_gains(choices)
        taus.append([compute_kendall(p.predict(space, choices).mean, truth) for p in (trees, meta)])
    pooled, learned = np.mean(taus, axis=0)
    assert 0.1 < pooled < learned
    uniform = trees.predict(space, [space.reference()])
    assert uniform.mean[0] == 0.0
