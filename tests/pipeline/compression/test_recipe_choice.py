"""The recipe of a compression's recoveries: chosen on the first finalist, used by all, and reported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rankadaptor.config import build_compression
from rankadaptor.pipeline.compression import run_compression
from rankadaptor.pipeline.compression.run_recipe import make_run_recipe, read_choice
from rankadaptor.pipeline.compression.setting import Setting
from rankadaptor.pipeline.run_folder import RunFolder
from rankadaptor.pipeline.text_jobs.setting import pick_compute
from rankadaptor.planning.compression_plan import estimate_compression
from rankadaptor.report.compression import render_compression

STEPS = 48


@pytest.fixture
def values(tmp_path: Path, pico_model: Callable[..., Any], pico_tokenizer: Any) -> dict[str, Any]:
    """A short compression with two rates, two schedules and two losses to choose from."""
    model = pico_model("llama", blocks=2, hidden_size=64, intermediate_size=128, head_dim=16)
    model.save_pretrained(tmp_path / "model")
    pico_tokenizer.save_pretrained(tmp_path / "model")
    lines = [f"Line {n}: the fox jumps over dog {n * 7 % 13} under bridge {n * n % 17}." for n in range(200)]
    (tmp_path / "text.txt").write_text("\n".join(lines))
    return {
        "name": "pico",
        "output": str(tmp_path / "out"),
        "model": str(tmp_path / "model"),
        "limits": {"size": "64KB"},
        "compute": {"threads": 1},
        "data": {
            "text": [str(tmp_path / "text.txt")],
            "other": None,
            "length": 16,
            "search_sequences": 8,
            "judge_sequences": 8,
        },
        "choices": {"importance_rows": 4, "types": ["Q8_0"], "embedding": ["Q8_0"]},
        "search": {"evaluations": 12, "screen_sequences": 4, "finalists": 1},
        "recover": {
            "steps": STEPS,
            "finalist_steps": 6,
            "rank": 2,
            "batch_size": 2,
            "learning_rates": [1e-2, 1e-5],
            "schedules": ["constant", "linear"],
        },
        "references": [],
        "export": {"engine": False},
        "track": {"enabled": False},
    }


def test_one_recipe_is_chosen_for_less_than_half_the_recovery(values: dict[str, Any]):
    config = build_compression(values)
    planned = {step.name: step for step in estimate_compression(config).steps}
    document = run_compression(config)
    choice, tokens = document["result"]["choice"], document["result"]["cost"]["tokens_trained"]
    assert choice["changes"]["learning_rate"] > 1e-5  # one that hardly trains cannot win
    assert choice["recipe"]["schedule"] in ("constant", "linear")
    assert 0 < choice["share"] <= 0.5
    assert choice["tokens"] <= tokens["recover"] / 2
    assert planned["finalists"].runs == sum(map(len, choice["rungs"])) + 1
    setting = Setting(RunFolder(Path(config.output), config.digest()), config, pick_compute(config))
    stored = read_choice(setting)
    assert stored is not None
    assert stored["changes"] == choice["changes"]
    recipe = make_run_recipe(setting, steps=STEPS, rate=choice["recipe"]["learning_rate"])
    assert recipe.to_json() == choice["recipe"]
    assert "Recipes tried for the recovery" in render_compression(document)
    again = run_compression(config)
    assert again["result"]["choice"] == choice


def test_what_was_tried_is_not_tried_again_after_another_start(values: dict[str, Any]):
    document = run_compression(build_compression(values))
    folder = Path(values["output"])
    (folder / "steps" / "finalists.json").unlink()
    tried = sorted((folder / "finalists").glob("recipe-*.json"))
    before = [file.stat().st_mtime_ns for file in tried]
    again = run_compression(build_compression(values))
    assert [file.stat().st_mtime_ns for file in tried] == before
    assert again["result"]["choice"]["rungs"] == document["result"]["choice"]["rungs"]


def test_another_loss_is_tried_with_the_dense_model_as_teacher(values: dict[str, Any]):
    del values["recover"]["schedules"]
    values["recover"] |= {"losses": ["plain", "distill"], "learning_rates": [1e-2]}
    choice = run_compression(build_compression(values))["result"]["choice"]
    assert {each["changes"]["loss"] for each in choice["rungs"][0]} == {"plain", "distill"}
    assert all(each["error"] is None for each in choice["rungs"][0])
