from __future__ import annotations

import numpy as np
import pytest

from rankadaptor.errors import InputError
from rankadaptor.features import SlotValues
from rankadaptor.predictor.sweep_predictor import SweepPredictor
from rankadaptor.search import (
    Account,
    EarlyElimination,
    Refinement,
    Search,
    estimate_slot_values,
    plan_sweep,
    search_blindly,
    search_randomly,
    solve_exact,
)
from rankadaptor.space import Space
from rankadaptor.space.moves import trade
from tests.space.joint import JointOracle, make_joint_oracle, make_joint_space

EVALUATIONS = 32


@pytest.fixture(scope="module")
def space() -> Space:
    return make_joint_space(size=0.55, macs=0.8)


@pytest.fixture(scope="module")
def oracle(space: Space) -> JointOracle:
    return make_joint_oracle(space, seed=2)


@pytest.fixture(scope="module")
def sweep(space: Space, oracle: JointOracle) -> list:
    return oracle.measure(plan_sweep(space))


@pytest.fixture(scope="module")
def values(space: Space, sweep: list) -> SlotValues:
    return estimate_slot_values(space, sweep)


@pytest.fixture(scope="module")
def exact(space: Space, values: SlotValues):
    return space.from_choices(solve_exact(space, values))


def make_search(space, values, exact) -> Search:
    return Search(space, SweepPredictor(values), refinement=Refinement(starts=(exact,)), candidates=600)


@pytest.fixture(scope="module")
def refined(space, oracle, values, exact) -> Search:
    search = make_search(space, values, exact)
    search.run_batches(oracle.measure, evaluations=EVALUATIONS, batch=8)
    return search


def read_best(records) -> float:
    return -max(record.gain for record in records)


def test_it_beats_the_exact_optimum_blind_evolution_and_random(space, oracle, sweep, exact, refined):
    best = read_best(refined.records)
    assert best < 0.97 * oracle.true_kl([exact.choices])[0]
    assert best == pytest.approx(-refined.result().expected_gain)
    # The others may measure as often as sweep and refinement together.
    whole = len(sweep) + EVALUATIONS
    blind = search_blindly(space, start=space.sample(2, seed=0)[-1], seed=0)
    blind.run_batches(oracle.measure, evaluations=whole, batch=8)
    from_exact = search_blindly(space, start=exact, seed=0)
    from_exact.run_batches(oracle.measure, evaluations=EVALUATIONS, batch=8)
    drawn = search_randomly(space)
    drawn.run_batches(oracle.measure, evaluations=whole, batch=32)
    random = read_best(drawn.records)
    assert best < read_best(from_exact.records)
    assert best < read_best(blind.records) < read_best(blind.records[:1])
    assert best < 0.8 * random
    for search in (refined, blind, from_exact, drawn):
        assert len({record.values for record in search.records}) == len(search.records)
        rows = [space.find_choices(record.values) for record in search.records]
        assert all((space.sum_costs(rows, each.resource) <= each.bound).all() for each in space.limits)
    account = Account.of_records(sweep) + Account.of_records(refined.records)
    assert account.to_json() == {
        "evaluations": whole, "tokens": whole * oracle.tokens, "seconds": pytest.approx(whole * 2.0)
    }  # fmt: skip


def test_a_resumed_search_goes_on_as_if_it_had_not_stopped(space, oracle, values, exact, refined):
    resumed = make_search(space, values, exact)
    resumed.tell(refined.records[:24])
    resumed.run_batches(oracle.measure, evaluations=EVALUATIONS, batch=8)
    assert resumed.records == refined.records
    assert (
        resumed.result().history[0].best_gain == refined.records[0].gain
    )  # dense, of gain 0, exceeds the limits


def test_early_elimination_spends_fewer_tokens(space, oracle, values, exact, refined):
    measure = EarlyElimination(oracle.measure, tokens=500)
    search = make_search(space, values, exact)
    search.run_batches(measure, evaluations=EVALUATIONS, batch=8)
    account = Account.of_records(search.records)
    assert account.evaluations == EVALUATIONS
    assert account.tokens < 0.9 * Account.of_records(refined.records).tokens
    result = search.result()
    whole = [record for record in search.records if record.fidelity == 1.0]
    assert len(whole) <= EVALUATIONS / 2 + 4  # nothing of the first batch of 8 is eliminated
    assert result.best.values in {record.values for record in whole}
    assert oracle.true_kl([result.best.choices])[0] < oracle.true_kl([exact.choices])[0]
    with pytest.raises(InputError, match="margin=-1"):
        EarlyElimination(oracle.measure, tokens=500, margin=-1.0)


def test_trades_keep_the_limits_and_change_few_slots(space, exact):
    rows = trade(space, np.array([exact.choices]), count=500, seed=1)
    assert all((space.sum_costs(rows, each.resource) <= each.bound).all() for each in space.limits)
    changed = (rows != exact.choices).sum(axis=1)
    assert np.median(changed) <= 4
    assert len(np.unique(rows, axis=0)) > 250
    np.testing.assert_array_equal(rows, trade(space, np.array([exact.choices]), count=500, seed=1))
