"""A whole elastic job at pico size, its continuation, and the presets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from peft import PeftModel

from rankadaptor.cli import main
from rankadaptor.components.sparsity import measure_sparsity
from rankadaptor.config import build_elastic
from rankadaptor.errors import BudgetError, ConfigError
from rankadaptor.files import read_json
from rankadaptor.named_models import load
from rankadaptor.pipeline.elastic import run_elastic
from rankadaptor.planning import estimate_elastic


@pytest.fixture(scope="module")
def source(
    tmp_path_factory: pytest.TempPathFactory, pico_model: Callable[..., Any], pico_tokenizer: Any
) -> Path:
    """A pico model and two texts."""
    folder = tmp_path_factory.mktemp("elastic")
    model = pico_model("llama", blocks=2, hidden_size=64, intermediate_size=128, head_dim=16)
    model.save_pretrained(folder / "model")
    pico_tokenizer.save_pretrained(folder / "model")
    lines = [
        f"Line {n}: the fox jumps over dog {n * 7 % 13} and under bridge {n * n % 17}." for n in range(120)
    ]
    (folder / "text.txt").write_text("\n".join(lines))
    (folder / "other.txt").write_text("\n".join(f"{n} plus {n + 1} is {2 * n + 1}." for n in range(120)))
    return folder


def describe(source: Path, output: Path, **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "name": "pico",
        "output": str(output),
        "model": str(source / "model"),
        "compute": {"threads": 1},
        "data": {
            "text": [str(source / "text.txt")],
            "other": str(source / "other.txt"),
            "length": 16,
            "search_sequences": 8,
            "judge_sequences": 12,
        },
        "choices": {"ranks": [2, 4], "levels": 4, "importance_rows": 4, "type": "F16"},
        "train": {"steps": 4, "batch_size": 4, "learning_rate": 1e-2},
        "search": {"methods": ["heuristic", "hill_climbing", "nsga2"], "evaluations": 12},
        "track": {"enabled": False},
    }
    return values | changes


@pytest.fixture(scope="module")
def finished(source: Path) -> tuple[Path, dict[str, Any]]:
    output = source / "out"
    return output, run_elastic(build_elastic(describe(source, output)))


def test_a_run_finds_a_smaller_model_and_compares_it(finished):
    folder, document = finished
    result = document["result"]
    methods = {each["name"]: each for each in result["search"]["methods"]}
    assert list(methods) == ["heuristic", "hill_climbing", "nsga2"]
    assert methods["heuristic"]["evaluations"] == 1
    assert all(0 < methods[name]["evaluations"] <= 12 for name in ("hill_climbing", "nsga2"))
    assert all(each["costs"]["parameters"] <= result["search"]["limit"]["bound"] for each in methods.values())
    best = methods[result["best"]]
    assert best["loss"] == min(each["loss"] for each in methods.values()) <= methods["heuristic"]["loss"]
    points = {point["name"]: point for point in result["points"]}
    assert set(points) == {*methods, "dense", "lora", "alone"}
    assert (
        points[result["best"]]["parameters"] == best["costs"]["parameters"] == points["alone"]["parameters"]
    )
    assert points["lora"]["parameters"] == points["dense"]["parameters"] > best["costs"]["parameters"]
    # Trained on as many tokens: sequences are of one length here.
    assert points["lora"]["tokens"] == points["alone"]["tokens"] == points["heuristic"]["tokens"] > 0
    small, _ = load(str(folder / "model"))
    assert small.num_parameters() == best["costs"]["parameters"]
    assert set(result["speed"]) == {"dense", "result"}


def test_a_finished_run_is_read_and_a_later_step_may_change(finished, source, capsys):
    folder, document = finished
    before = (folder / "steps" / "train.json").read_text()
    again = run_elastic(build_elastic(describe(source, folder)))
    assert again["result"] == document["result"]
    assert again["run"] == document["run"]  # commit and times of what was measured
    assert main(["report", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "middle of every slot" in shown
    assert "of the parameters" in shown
    assert "fixed-rank adapter" in (folder / "report.html").read_text()
    values = describe(source, folder, references=["alone"])
    changed = run_elastic(build_elastic(values))
    assert "lora" not in {point["name"] for point in changed["result"]["points"]}
    assert (folder / "steps" / "train.json").read_text() == before
    run_elastic(build_elastic(describe(source, folder)))


def test_an_interrupted_run_gives_the_same_result(finished, source, monkeypatch, tmp_path):
    _, document = finished
    from rankadaptor.pipeline.elastic import job

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    config = build_elastic(describe(source, tmp_path / "run"))
    with monkeypatch.context() as patch:
        patch.setattr(job, "search", stop)
        with pytest.raises(KeyboardInterrupt):
            run_elastic(config)
    result = run_elastic(config)["result"]
    assert result["training"] == document["result"]["training"]
    assert result["points"] == document["result"]["points"]
    assert read_json(tmp_path / "run" / "steps" / "train.json")["tokens"] > 0


def test_ranks_alone_may_be_elastic(source, tmp_path):
    choices = {
        "ranks": [1, 2, 4],
        "width": False,
        "importance_rows": 4,
        "rank_slots": "linear",
        "type": "F16",
    }
    search = {"methods": ["heuristic", "hill_climbing"], "evaluations": 6}
    values = describe(source, tmp_path / "run", choices=choices, search=search, references=["lora"])
    result = run_elastic(build_elastic(values))["result"]
    assert result["search"]["limit"]["resource"] == "adapter_parameters"
    assert len({point["parameters"] for point in result["points"]}) == 1


def test_a_sparse_model_stays_sparse_beside_its_adapter(source, tmp_path):
    choices = {"ranks": [2, 4], "width": False, "sparsity": 0.5, "importance_rows": 4, "type": "F16"}
    search = {"methods": ["heuristic"]}
    values = describe(source, tmp_path / "run", choices=choices, search=search, references=["lora"])
    result = run_elastic(build_elastic(values))["result"]
    assert result["sparsity"] == 0.5
    base, _ = load(str(tmp_path / "run" / "model"))
    assert measure_sparsity(base) == 0.5
    loaded = PeftModel.from_pretrained(base, str(tmp_path / "run" / "adapter"))
    assert loaded.peft_config["default"].r == 4
    assert result["points"][0]["losses"] != result["losses"]


def test_the_plan_counts_what_is_trained(source, tmp_path, capsys):
    config = build_elastic(describe(source, tmp_path / "none"))
    plan = estimate_elastic(config)
    steps = {step.name: step for step in plan.steps}
    assert list(steps) == ["prepare", "train", "search", "references", "judge"]
    assert steps["train"].tokens == 4 * 4 * 4 * 16 + 4 * 16
    assert steps["search"].runs == 25
    path = tmp_path / "run.yaml"
    from rankadaptor.config import dump_run

    path.write_text(dump_run(config))
    assert main(["plan", str(path)]) == 0
    assert "super-network, 4 allocations a step" in capsys.readouterr().out
    assert main(["run", str(path), "--until", "verdict"]) == 2
    assert "other verdicts come last" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"choices": {"ranks": [0]}}, r"Give different ranks"),
        ({"choices": {"ranks": [4], "width": False}}, "nothing is elastic"),
        ({"choices": {"ranks": [2, 4], "width": False}, "search": {"parameters": "80%"}}, "ranks alone"),
        ({"search": {"parameters": "lots"}}, "lots"),
        ({"choices": {"ranks": [2, 4], "sparsity": 0.5}}, "keeps all its channels"),
        ({"train": {"rule": "club"}}, r"train\.rule"),
        ({"model": "kit:unknown"}, "kit:unknown"),
    ],
)
def test_faults_name_their_key(source, tmp_path, changes, complaint):
    with pytest.raises(ConfigError, match=complaint):
        build_elastic(describe(source, tmp_path, **changes))


def test_a_limit_that_cannot_be_kept_names_the_nearest(source, tmp_path):
    values = describe(source, tmp_path / "run", search={"parameters": "20%"})
    with pytest.raises(BudgetError, match=r"search\.parameters: 20%.*smallest allocation"):
        run_elastic(build_elastic(values))
