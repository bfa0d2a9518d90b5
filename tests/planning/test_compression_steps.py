"""What the steps of a compression are planned to take, on one core and on two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rankadaptor.config import build_compression
from rankadaptor.planning.compression_steps import list_steps, share_out
from rankadaptor.planning.plan import PlanStep
from rankadaptor.planning.rates import Rate
from rankadaptor.planning.shape import read_shape

FLOAT32 = Rate(80e9, 4, "a core without bfloat16")
MODEL = "kit:smollm2-135m"


def plan(workers: int, **values: Any) -> dict[str, PlanStep]:
    config = build_compression({"limits": {"size": "60MB"}, "model": MODEL, **values})
    steps = list_steps(config, read_shape(MODEL), FLOAT32, workers=workers)
    return {step.name: step for step in steps}


def sum_seconds(steps: dict[str, PlanStep]) -> float:
    return sum(step.seconds for step in steps.values())


def test_the_default_run_fits_an_hour_on_two_cores_and_a_million_scored_tokens():
    one, two = plan(1), plan(2)
    assert sum_seconds(two) < 0.85 * 3600
    assert 1.6 * sum_seconds(two) < sum_seconds(one)
    config = build_compression({"limits": {"size": "60MB"}})
    assert config.search.evaluations <= 200
    assert sum(two[name].tokens for name in ("sweep", "search", "baselines")) <= 1_000_000


def test_stock_files_are_planned_to_be_recovered_near_the_limit_alone():
    assert plan(1)["stock_recovered"].runs == 0
    once = {"quantisation_aware": False}
    assert plan(1, limits={"size": "90MB"}, recover=once)["stock_recovered"].runs == 1
    assert plan(1, limits={"latency": "0.7x"}, recover=once)["stock_recovered"].runs == 1
    types = len(build_compression({"limits": {"size": "90MB"}}).stock_types)
    assert plan(1, limits={"size": "90MB"})["stock_recovered"].runs == types


def test_recoveries_are_planned_once():
    one, two = plan(1), plan(2)
    assert "recoveries" not in one
    assert two["recover"].seconds == 0
    assert two["recover"].tokens == one["recover"].tokens
    alone = one["recover"].seconds + one["references"].seconds + one["stock"].seconds
    together = sum(two[name].seconds for name in ("recoveries", "recover", "references", "stock"))
    assert alone / 2 < together < alone


def test_several_pieces_take_as_long_as_the_longest_at_least():
    assert share_out([], workers=2) == 0
    assert share_out([10, 20], workers=1) == 30
    assert 100 <= share_out([100, 1, 1], workers=2) < 120
    assert 60 <= share_out([40] * 3, workers=2) < 80


def test_every_step_of_the_plan_is_one_of_the_run(tmp_path: Path):
    config = build_compression({"limits": {"size": "60MB"}, "output": str(tmp_path)})
    assert set(plan(2)) <= set(config.kind.steps)


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_a_run_without_recovery_is_planned(workers: int):
    steps = plan(workers, recover=None, references=["stock", "uniform"])
    assert steps["finalists"].runs == steps["stock_recovered"].runs == 0
    assert steps["references"].tokens > 0


def test_the_recovery_of_the_scored_model_is_planned():
    plain, recovered = plan(1), plan(1, search={"recovered_steps": 12})
    assert "scored_model" not in plain
    step = recovered["scored_model"]
    assert step.tokens == 12 * 8 * 128
    assert sum_seconds(recovered) == pytest.approx(sum_seconds(plain) + step.seconds)
