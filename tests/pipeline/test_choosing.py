"""A run that chooses the recipe of its full fine-tunes for their own length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rankadaptor.config import build_run
from rankadaptor.errors import ConfigError
from rankadaptor.pipeline import run_experiment
from rankadaptor.planning import estimate
from rankadaptor.report.markdown import render_markdown

CHOOSE = {"learning_rates": [1e-2, 1e-4], "schedules": ["cosine", "constant"]}
STEPS = 60


def test_the_full_fine_tunes_have_the_recipe_chosen_for_their_length(pico_run: dict[str, Any]):
    pico_run["recover"] = {"steps": STEPS, "choose": CHOOSE}
    config = build_run(pico_run)
    planned = {step.name: step for step in estimate(config).steps}
    document = run_experiment(config)
    choice = document["result"]["choice"]
    assert choice["changes"]["learning_rate"] > 1e-4  # one that hardly trains cannot win
    assert choice["recipe"]["learning_rate"] == choice["changes"]["learning_rate"]
    assert choice["recipe"]["schedule"] == choice["changes"]["schedule"]
    trained = sum(each["steps"] for rung in choice["rungs"] for each in rung)
    assert 0 < trained <= STEPS / 2
    assert planned["choose"].runs == sum(map(len, choice["rungs"]))
    cost = document["result"]["cost"]
    assert cost["tokens_trained"]["choose"] <= cost["tokens_trained"]["recover"] / 2 / 2  # of two models
    assert "chosen" in render_markdown(document)["choice"]
    again = run_experiment(config)
    assert again["result"]["choice"] == choice
    folder = Path(config.output)
    assert len(list((folder / "choosing").glob("*.jsonl"))) == sum(map(len, choice["rungs"]))


def test_a_loss_that_follows_the_dense_model_may_be_chosen(pico_run: dict[str, Any]):
    choose = {"learning_rates": [1e-2], "losses": ["plain", "distill"]}
    pico_run["recover"] = {"steps": 40, "choose": choose}
    result = run_experiment(build_run(pico_run))["result"]
    assert {each["changes"]["loss"] for each in result["choice"]["rungs"][0]} == {"plain", "distill"}
    assert all(each["status"] == "ok" for each in result["search"]["history"])
    pico_run["prune"] = None
    with pytest.raises(ConfigError, match=r"recover\.choose\.losses"):
        build_run(pico_run)


def test_another_choice_keeps_all_steps_before_it(pico_run: dict[str, Any]):
    first = run_experiment(build_run(pico_run))
    assert "choice" not in first["result"]
    pico_run["recover"] = {"steps": 40, "choose": {"learning_rates": [1e-2, 1e-3]}}
    second = run_experiment(build_run(pico_run))
    assert second["result"]["search"] == first["result"]["search"]
    assert second["result"]["choice"]["changes"]["learning_rate"] in (1e-2, 1e-3)
    assert second["result"]["recovered"]["uniform"]["loss"] != first["result"]["recovered"]["uniform"]["loss"]


def test_without_a_choice_a_run_is_what_it_was(pico_run: dict[str, Any]):
    before = build_run(pico_run)
    after = build_run({**pico_run, "recover": {**pico_run["recover"], "choose": None}})
    assert before.digest() == after.digest()
    assert not any("choose" in key for key in before.list_inputs())
