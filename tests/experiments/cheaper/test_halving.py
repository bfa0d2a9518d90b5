"""Halving replayed over stored gains asks for few long runs and keeps the best."""

from __future__ import annotations

import pytest

from rankadaptor.components.adapter import RankSpace
from tests.space.shapes import build_linears


def test_a_replay_costs_what_its_rungs_cost_and_orders_by_the_rung_reached() -> None:
    from experiments.cheaper.halving import RUNGS, TARGET, replay_halving

    space = RankSpace.from_linears(build_linears(3), like_uniform=4, slots="linear")
    values = [allocation.values for allocation in space.sample(12, seed=0)]
    truth = {each: 0.01 * place for place, each in enumerate(values)}
    found = replay_halving(space, dict.fromkeys([*RUNGS, TARGET], truth), full=64)
    assert found["rungs"] == [12, 4, 1]
    assert found["full_runs"] == pytest.approx(13 / 8 + 5 / 4 + 2)
    assert found["against_fresh_seed"]["kendall"] == 1.0
    assert found["against_fresh_seed"]["top1_regret"] == 0.0

    misled = {**truth, values[-1]: -1.0}  # the best falls at the first rung, and never comes back
    gains = {**dict.fromkeys(RUNGS, truth), TARGET: truth, "steps_1/8": misled}
    found = replay_halving(space, gains, full=64)
    assert found["against_fresh_seed"]["kendall"] < 0.8
    assert found["against_fresh_seed"]["top1_regret"] == pytest.approx(0.01)
