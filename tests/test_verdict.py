"""Verdicts: simulated nulls and planted effects, the winner's curse, and every awkward measurement."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rankadaptor.errors import InputError
from rankadaptor.verdict import confirm, judge_gains

NOISE = 0.003
SIMULATIONS = 400


class SmallSpace:
    """Just enough of a space: `confirm` asks it only for its reference."""

    def reference(self):
        return SimpleNamespace(values=(8, 8), space=self)


def make_allocation(*values: int) -> Any:
    return SimpleNamespace(values=values, space=SmallSpace())


@dataclass
class Oracle:
    """A paired measurement with a true gain per allocation and normal noise per (allocation, seed)."""

    world: int
    gains: dict[tuple[int, ...], float] = field(default_factory=dict)
    broken: frozenset[int] = frozenset()
    seed: int = 0
    calls: list[int] = field(default_factory=list)

    def __call__(self, allocation: Any, *, seed: int | None = None) -> Any:
        seed = self.seed if seed is None else seed
        self.calls.append(seed)
        if seed in self.broken:
            return SimpleNamespace(
                values=allocation.values, seed=seed, steps=3, gain=None, error="loss became NaN at step 3"
            )
        rng = np.random.default_rng([self.world, seed, *allocation.values])
        gain = self.gains.get(allocation.values, 0.0) + NOISE * rng.standard_normal()
        return SimpleNamespace(values=allocation.values, seed=seed, steps=24, gain=float(gain), error=None)


def pick_winner(oracle: Oracle, candidates: list[Any]) -> Any:
    return max(candidates, key=lambda allocation: oracle(allocation).gain)


def test_null_after_a_search_is_called_better_in_at_most_five_percent():
    candidates = [make_allocation(8 + k, 8 - k) for k in range(1, 7)] + [
        make_allocation(8 - k, 8 + k) for k in range(1, 7)
    ]
    outcomes, flattered = [], []
    for world in range(SIMULATIONS):
        oracle = Oracle(world)
        best = pick_winner(oracle, candidates)
        flattered.append(oracle(best).gain)
        outcomes.append(confirm(oracle, best).outcome)
    assert np.mean(flattered) > NOISE  # the search's own figure is luck, and large
    assert outcomes.count("better") <= 0.05 * SIMULATIONS
    assert outcomes.count("no difference") >= 0.9 * SIMULATIONS


@pytest.mark.parametrize(("sign", "expected"), [(1, "better"), (-1, "worse")])
def test_planted_effect_of_two_noise_sds_is_found(sign, expected):
    planted = make_allocation(12, 4)
    found = 0
    for world in range(SIMULATIONS):
        verdict = confirm(Oracle(world, {planted.values: sign * 2 * NOISE}), planted)
        found += verdict.outcome == expected
        assert verdict.allocation.values == (planted.values if verdict.outcome == "better" else (8, 8))
    assert found >= 0.8 * SIMULATIONS


def test_planted_winner_of_a_noisy_search_is_confirmed():
    planted = make_allocation(12, 4)
    candidates = [make_allocation(8 + k, 8 - k) for k in (-6, -5, -4, -3, -2, -1, 1, 2, 3, 5, 6)] + [planted]
    right = better = 0
    for world in range(SIMULATIONS):
        oracle = Oracle(world, {planted.values: 2.5 * NOISE})
        verdict = confirm(oracle, pick_winner(oracle, candidates))
        better += verdict.outcome == "better"
        right += verdict.outcome == "better" and verdict.candidate.values == planted.values
    assert right >= 0.6 * SIMULATIONS
    assert right >= 0.97 * better  # what is called better is the planted one


def test_interval_covers_the_true_gain_as_often_as_it_says():
    planted = make_allocation(12, 4)
    truth = 0.5 * NOISE
    covered = 0
    for world in range(SIMULATIONS):
        verdict = confirm(Oracle(world, {planted.values: truth}), planted, confidence=0.8)
        covered += verdict.low <= truth <= verdict.high
    assert abs(covered / SIMULATIONS - 0.8) < 0.06


def test_judge_gains_gives_students_interval():
    judged = judge_gains([0.001, 0.002, 0.003, 0.004, 0.005])
    half = 2.7764451 * math.sqrt(2.5e-6) / math.sqrt(5)
    assert judged.gain == pytest.approx(0.003)
    assert (judged.low, judged.high) == (pytest.approx(0.003 - half), pytest.approx(0.003 + half))
    assert judged.noise == pytest.approx(math.sqrt(2.5e-6))
    assert (judged.outcome, judged.count, judged.reason) == ("better", 5, "")


def test_one_pair_or_none_is_never_a_difference():
    assert judge_gains([0.5]).outcome == "no difference"
    assert judge_gains([0.5]).low is None
    assert "noise" in judge_gains([0.5]).reason
    assert judge_gains([]).gain is None


def test_equal_gains_carry_a_caveat():
    judged = judge_gains([0.1, 0.1, 0.1])
    assert (judged.outcome, judged.noise) == ("better", 0.0)
    assert "seed" in judged.reason
    level = judge_gains([0.0, 0.0, 0.0])
    assert (level.outcome, level.reason) == ("no difference", "")


@pytest.mark.parametrize("gains", [[0.1, math.nan], [0.1, math.inf]])
def test_judge_gains_refuses_what_is_not_finite(gains):
    with pytest.raises(InputError, match="finite"):
        judge_gains(gains)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_judge_gains_refuses_a_confidence_that_is_no_share(confidence):
    with pytest.raises(InputError, match="between 0 and 1"):
        judge_gains([0.1, 0.2], confidence=confidence)


def test_seeds_are_fresh_and_reported():
    planted = make_allocation(12, 4)
    oracle = Oracle(1, {planted.values: 10 * NOISE})
    verdict = confirm(oracle, planted, seeds=4, first_seed=50)
    assert verdict.seeds == (50, 51, 52, 53) == tuple(oracle.calls)
    assert len(verdict.records) == len(verdict.gains) == 4


def test_seed_of_the_search_is_refused_before_anything_is_measured():
    planted = make_allocation(12, 4)
    oracle = Oracle(1, seed=1002)
    with pytest.raises(InputError, match=r"1002 .*first_seed > 1002"):
        confirm(oracle, planted)
    other = Oracle(1)
    with pytest.raises(InputError, match="1001, 1003"):
        confirm(other, planted, searched=[SimpleNamespace(seed=1001), SimpleNamespace(seed=1003)])
    assert oracle.calls == other.calls == []


def test_measure_that_ignores_its_seed_is_refused():
    def deaf(allocation, *, seed):
        return SimpleNamespace(values=allocation.values, seed=0, gain=0.1, error=None)

    with pytest.raises(InputError, match="seed 0"):
        confirm(deaf, make_allocation(12, 4))


def test_one_failed_run_of_five_is_told_and_tolerated():
    planted = make_allocation(12, 4)
    verdict = confirm(Oracle(1, {planted.values: 20 * NOISE}, broken=frozenset({1003})), planted)
    assert verdict.outcome == "better"
    assert verdict.failures == ("seed 1003: loss became NaN at step 3",)
    assert len(verdict.records) == 5
    assert "1 of 5 runs failed" in verdict.describe()


@pytest.mark.parametrize("broken", [{1000, 1003}, {1000, 1001, 1002, 1003}, {1000, 1001, 1002, 1003, 1004}])
def test_too_few_pairs_give_no_difference_and_uniform(broken):
    planted = make_allocation(12, 4)
    verdict = confirm(Oracle(1, {planted.values: 20 * NOISE}, broken=frozenset(broken)), planted)
    assert verdict.outcome == "no difference"
    assert verdict.allocation.values == (8, 8)
    assert f"only {5 - len(broken)} of 5" in verdict.describe()


def test_uniform_as_candidate_costs_nothing():
    oracle = Oracle(1)
    verdict = confirm(oracle, make_allocation(8, 8))
    assert verdict.outcome == "no difference"
    assert oracle.calls == []
    assert "uniform itself" in verdict.describe()


def test_describe_and_json_hold_the_same_story():
    planted = make_allocation(12, 4)
    verdict = confirm(Oracle(3, {planted.values: 10 * NOISE}), planted)
    sentence = verdict.describe()
    assert sentence.startswith("better than uniform; gain +0.0")
    assert "95% interval" in sentence
    assert sentence.endswith("over 5 pairs of 24-step fine-tunes on fresh seeds; use the candidate.")
    stored = json.loads(json.dumps(verdict.to_json(), allow_nan=False))
    assert stored["candidate"] == [12, 4]
    assert (stored["sentence"], stored["steps"]) == (sentence, 24)
    assert "24-step fine-tunes on fresh seeds (the recovery has 400 steps); use" in verdict.describe(
        recovery_steps=400
    )
    assert "recovery" not in verdict.describe(recovery_steps=24)


def test_too_few_seeds_are_refused():
    with pytest.raises(InputError, match="at least 2"):
        confirm(Oracle(1), make_allocation(12, 4), seeds=1)
