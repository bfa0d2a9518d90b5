"""What every predictor promises, on settings with known truth."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from rankadaptor.components.adapter import RANK, RankSpace, add_scales
from rankadaptor.errors import InputError
from rankadaptor.predictor import (
    PREDICTORS,
    GaussianProcess,
    MetaPredictor,
    Predictor,
    Ridge,
    make_predictor,
    meta_train,
    train_network,
)
from rankadaptor.predictor.networks.perceptron_layers import PerceptronEnsemble
from rankadaptor.predictor.quality import compute_kendall
from rankadaptor.space import Slot
from tests.predictor.oracle import Oracle, as_failed, make_oracle, make_space, measure_sample, with_losses

SHARED = 11


@pytest.fixture(scope="module")
def space() -> RankSpace:
    return make_space(blocks=4)


@pytest.fixture(scope="module")
def predictors(space: RankSpace) -> dict[str, Predictor]:
    settings = [
        (space, measure_sample(make_oracle(space, seed=100 + seed, shared=SHARED), 30, seed=seed))
        for seed in range(4)
    ]
    network = PerceptronEnsemble(members=5, width=64, hidden=16)
    made = {name: make_predictor(name) for name in PREDICTORS if name != "meta"}
    given = {"epochs": 25, "learning_rate": 3e-3}
    networks = {
        "meta perceptron": train_network(settings, network=network, **given),
        "meta slots": train_network(settings, network="slots", algorithm="first_order", **given),
    }
    return {"meta": meta_train(settings), **networks, **made}


@pytest.fixture(params=[*PREDICTORS, "meta perceptron", "meta slots"])
def predictor(request: pytest.FixtureRequest, predictors: dict[str, Predictor]) -> Predictor:
    return predictors[request.param]


@pytest.fixture(scope="module")
def oracle(space: RankSpace) -> Oracle:
    return make_oracle(space, seed=1, shared=SHARED, noise=0.3)


def test_uniform_gains_nothing_whatever_was_measured(
    predictor: Predictor, space: RankSpace, oracle: Oracle
) -> None:
    for seen in (predictor, predictor.update(space, measure_sample(oracle, 12))):
        prediction = seen.predict(space, [space.reference(), *space.sample(3, seed=1)])
        assert prediction.mean.shape == prediction.std.shape == (4,)
        assert abs(prediction.mean[0]) < 1e-9
        assert prediction.std[0] < 1e-6
        assert (prediction.std[1:] > 0).all()


def test_update_is_pure_and_repeats_bit_for_bit(
    predictor: Predictor, space: RankSpace, oracle: Oracle
) -> None:
    choices = space.sample_choices(20, 3)
    records = measure_sample(oracle, 9)
    before = predictor.predict(space, choices)
    first, second = predictor.update(space, records), predictor.update(space, records)
    np.testing.assert_array_equal(first.predict(space, choices).mean, second.predict(space, choices).mean)
    np.testing.assert_array_equal(first.predict(space, choices).std, second.predict(space, choices).std)
    np.testing.assert_array_equal(predictor.predict(space, choices).mean, before.mean)
    # All records every time: what an earlier update saw is not carried over.
    again = first.update(space, records[:4]).predict(space, choices).mean
    np.testing.assert_array_equal(again, predictor.update(space, records[:4]).predict(space, choices).mean)
    np.testing.assert_array_equal(first.update(space, []).predict(space, choices).mean, before.mean)


def test_failed_records_and_uniform_teach_nothing(
    predictor: Predictor, space: RankSpace, oracle: Oracle
) -> None:
    records = measure_sample(oracle, 8)
    failed = as_failed(records[0], seed=5)
    choices = space.sample_choices(10, 3)
    plain = predictor.update(space, records).predict(space, choices)
    mixed = predictor.update(space, [*records, failed, oracle(space.reference())]).predict(space, choices)
    np.testing.assert_array_equal(plain.mean, mixed.mean)
    nothing = predictor.update(space, [failed]).predict(space, choices)
    np.testing.assert_array_equal(nothing.mean, predictor.predict(space, choices).mean)


def test_orders_unseen_allocations_after_thirty_records(
    predictor: Predictor, space: RankSpace, oracle: Oracle
) -> None:
    choices = space.sample_choices(200, 99)
    prediction = predictor.update(space, measure_sample(oracle, 30)).predict(space, choices)
    truth = oracle.true_gains(choices)
    assert compute_kendall(prediction.mean, truth) > 0.4
    assert np.mean(np.abs(prediction.mean - truth) < 2 * prediction.std) > 0.3
    assert prediction.noise > 0


@pytest.mark.parametrize("count", [8, 24])
def test_without_signal_the_predicted_spread_stays_inside_the_noise(
    predictor: Predictor, space: RankSpace, count: int
) -> None:
    spreads = []
    for seed in range(4):
        null = make_oracle(space, seed=seed, noise=1.0)
        null.weights = np.zeros_like(null.weights)
        prediction = predictor.update(space, measure_sample(null, count, seed=seed)).predict(
            space, space.sample_choices(200, 99)
        )
        spreads.append(prediction.mean.std() / null.noise)
    assert np.mean(spreads) < 0.5


def test_one_record_and_equal_records_are_enough_to_go_on(
    predictor: Predictor, space: RankSpace, oracle: Oracle
) -> None:
    (record,) = measure_sample(oracle, 1)
    same = [with_losses(r, loss=r.loss_reference) for r in measure_sample(oracle, 5)]
    for records in ([record], same):
        prediction = predictor.update(space, records).predict(space, space.sample_choices(5, 0))
        assert np.isfinite(prediction.mean).all()
        assert np.isfinite(prediction.std).all()


def test_one_broken_run_does_not_flatten_the_others(
    predictor: Predictor, space: RankSpace, oracle: Oracle
) -> None:
    records = measure_sample(oracle, 24)
    broken = [*records, with_losses(oracle(space.sample(1, seed=77)[0]), loss=9.0)]
    choices = space.sample_choices(200, 99)
    prediction = predictor.update(space, broken).predict(space, choices)
    assert compute_kendall(prediction.mean, oracle.true_gains(choices)) > 0.25


@pytest.mark.parametrize("slots", ["block", "half_block"])
def test_coarser_slots_work_too(predictor: Predictor, slots: str) -> None:
    coarse = make_space(blocks=4, slots=slots)
    oracle = make_oracle(coarse, seed=2, noise=0.1)
    prediction = predictor.update(coarse, measure_sample(oracle, 10)).predict(
        coarse, coarse.sample(7, seed=1)
    )
    assert len(prediction) == 7


def test_records_of_another_space_are_refused(predictor: Predictor, space: RankSpace, oracle: Oracle) -> None:
    with pytest.raises(InputError, match="values"):
        predictor.update(make_space(blocks=2), measure_sample(oracle, 3))
    with pytest.raises(InputError, match="one column per slot"):
        predictor.predict(space, np.zeros((2, 3), dtype=np.int64))
    labels = np.array([[16] * space.n_slots])  # ranks, where the numbers of options are expected
    with pytest.raises(InputError, match=r"row 0, slot 'block0\.q_proj': option number 16"):
        predictor.predict(space, labels)


def test_allocations_of_another_menu_are_read_by_their_ranks(predictor: Predictor, space: RankSpace) -> None:
    shorter = dataclasses.replace(space, slots=tuple(_drop_first_option(slot) for slot in space.slots),
        references=(("uniform", tuple(choice - 1 for choice in space.origin)),))  # fmt: skip
    allocation = shorter.sample(1, seed=3)[0]
    assert allocation.choices != space.find_choices(allocation.values)
    own = space.allocation(allocation.values)
    np.testing.assert_array_equal(
        predictor.predict(space, [allocation]).mean, predictor.predict(space, [own]).mean
    )


def _drop_first_option(slot: Slot) -> Slot:
    costs = tuple((resource, numbers[1:]) for resource, numbers in slot.costs)
    return dataclasses.replace(slot, options=slot.options[1:], costs=costs, coordinates=slot.coordinates[1:])


def test_scales_beside_ranks_are_learned_too(predictor: Predictor, space: RankSpace) -> None:
    wide = add_scales(space)
    choices = wide.sample_choices(220, 3)
    ranks = np.array([slot.component == RANK for slot in wide.slots])
    weights = np.where(ranks, 0.0, np.random.default_rng(0).normal(size=wide.n_slots))
    oracle = Oracle(wide, 0.002 * weights, 0.0005)
    records = [oracle(wide.from_choices(row)) for row in choices[:60].tolist()]
    seen, rest = predictor.update(wide, records), choices[60:]
    prediction = seen.predict(wide, rest)
    assert np.isfinite(prediction.mean).all()
    assert predictor.predict(wide, [wide.reference()]).mean[0] == 0.0
    if isinstance(predictor, MetaPredictor | GaussianProcess | Ridge):
        assert compute_kendall(prediction.mean, oracle.true_gains(rest)) > 0.35
