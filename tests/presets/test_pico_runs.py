"""Every preset that makes an elastic job runs from its run file to its end, on a pico model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftConfig

from rankadaptor.cli import main
from rankadaptor.components.sparsity import measure_sparsity
from rankadaptor.engine.quantisers import round_trip
from rankadaptor.files import read_json
from rankadaptor.model.families import describe_linears
from rankadaptor.named_models import load
from rankadaptor.presets import write_preset
from rankadaptor.runtime import choose_compute

SMALL = (
    "compute.threads=1",
    "data.length=16",
    "data.search_sequences=4",
    "data.judge_sequences=8",
    "choices.importance_rows=4",
    "train.steps=4",
    "train.batch_size=4",
    "search.evaluations=8",
    "track.enabled=false",
)


@pytest.fixture(scope="module")
def run_preset(
    tmp_path_factory: pytest.TempPathFactory, pico_model: Callable[..., Any], pico_tokenizer: Any
) -> Callable[..., Path]:
    """Return a function that runs a preset with other settings and returns its folder."""
    folder = tmp_path_factory.mktemp("presets")
    sizes = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16}
    pico_model("llama", blocks=4, **sizes).save_pretrained(folder / "model")
    pico_tokenizer.save_pretrained(folder / "model")
    for name, line in (("text", "Line {0}: the fox jumps over dog {1}."), ("other", "{0} plus {1}.")):
        (folder / f"{name}.txt").write_text("\n".join(line.format(n, n * n % 17) for n in range(150)))

    def run(name: str, *changes: str) -> Path:
        file = folder / f"{name}.yaml"
        file.write_text(write_preset(name, model=str(folder / "model"), output=str(folder / f"run-{name}")))
        texts = (f"data.text=[{folder / 'text.txt'}]", f"data.other={folder / 'other.txt'}", *SMALL)
        common = (f"data.train={folder / 'text.txt'}",) if name == "qlora" else texts
        settings = [word for change in (*common, *changes) for word in ("--set", change)]
        assert main(["run", str(file), *settings]) == 0
        return folder / f"run-{name}"

    return run


def test_lonas_finds_a_narrower_model(run_preset):
    result = read_json(run_preset("lonas", "choices.ranks=[2,4]") / "result.json")["result"]
    points = {point["name"]: point for point in result["points"]}
    assert points["heuristic"]["parameters"] < points["dense"]["parameters"]
    assert {"hill_climbing", "nsga2", "lora", "alone"} <= set(points)


def test_shears_leaves_the_adapter_beside_the_sparse_model(run_preset):
    folder = run_preset("shears", "choices.ranks=[1,2,4]")
    assert (folder / "adapter" / "adapter_config.json").exists()
    assert measure_sparsity(load(str(folder / "model"))[0]) == 0.5


def test_sqft_merges_one_sparse_model_in_four_bits(run_preset):
    folder = run_preset("sqft", "choices.ranks=[1,2,4]")
    assert not (folder / "adapter").exists()
    model, _ = load(str(folder / "model"), compute=choose_compute(dtype="float32"))
    assert measure_sparsity(model) >= 0.5
    for linear in describe_linears(model):
        weight = model.get_submodule(linear.name).weight.detach().float()
        assert torch.equal(torch.from_numpy(round_trip(weight.numpy(), "Q4_0")), weight)
    result = read_json(folder / "result.json")["result"]
    points = {point["name"]: point for point in result["points"]}
    assert set(points) == {"heuristic", "hill_climbing", "dense", "lora", "unmerged"}
    assert points["lora"]["losses"] != points["unmerged"]["losses"]


def test_llama_nas_drops_and_narrows_and_ends_with_a_file(run_preset):
    folder = run_preset("llama_nas", "choices.ranks=[4]", "search.parameters=70%", "search.evaluations=14")
    result = read_json(folder / "result.json")["result"]
    points = {point["name"]: point for point in result["points"]}
    assert set(points) == {"heuristic", "linas", "dense", "lora", "alone"}
    assert points["linas"]["parameters"] <= 0.7 * points["dense"]["parameters"]
    file = result["file"]
    assert file["bytes"] == (folder / "model.gguf").stat().st_size < file["dense_bytes"]
    assert set(file["speeds"]) == {"dense", "result"}
    assert file["losses"].keys() == points["linas"]["losses"].keys()
    rounding = abs(file["losses"]["judging"] - points[result["best"]]["losses"]["judging"])
    assert rounding < 0.1  # 8 bits of the same model


def test_qlora_searches_ranks_on_a_base_in_four_bits(run_preset):
    pytest.importorskip("bitsandbytes")
    folder = run_preset(
        "qlora",
        "compute.threads=1",
        "data.train_rows=null",
        "data.held_out_rows=8",
        "space.ranks=[1,2,4]",
        "space.like_uniform=2",
        "recipe.sequence_length=32",
        "recipe.tune={learning_rates: [1.0e-3, 1.0e-2], steps: 2}",
        "search.evaluations=2",
        "search.steps=2",
        "confirm.seeds=2",
        "recover.steps=4",
        "track.enabled=false",
    )
    assert PeftConfig.from_pretrained(str(folder / "adapters" / "uniform")).r == 2
    document = read_json(folder / "result.json")
    assert document["run"]["config"]["recover"]["method"] == "qlora"
