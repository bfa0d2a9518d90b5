"""The main job at pico size: whole, repeatable, and continued after a kill as if nothing had happened."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rankadaptor.config import build_run, dump_run, load_run
from rankadaptor.errors import CheckpointError, InputError, StorageError
from rankadaptor.pipeline import run_experiment, running_job
from rankadaptor.pipeline.guide import choose_predictor
from rankadaptor.pipeline.run_folder import open_run
from rankadaptor.results.details import build_tuning_table
from rankadaptor.results.document import read_result
from rankadaptor.runtime import choose_compute
from tests.pipeline.comparing import read_records, strip_result


def test_a_run_is_whole_and_repeats(
    pico_run: dict[str, Any], tmp_path: Path, undisturbed: tuple[dict[str, Any], Path]
) -> None:
    first, folder = undisturbed
    second = run_experiment(build_run(pico_run), output=tmp_path)
    assert strip_result(first) == strip_result(second)

    result = first["result"]
    assert result["losses"]["pruned"] > 0
    assert len(result["search"]["history"]) == 4
    assert result["verdict"]["outcome"] in ("better", "no difference", "worse")
    space = result["space"]
    uniform, searched = result["recovered"]["uniform"], result["recovered"]["searched"]
    assert uniform["parameters"] == space["budget"]
    assert searched["parameters"] <= space["budget"]
    assert json.loads((folder / "result.json").read_text()) == first
    # A finished run that is asked for again measured nothing: the result keeps who measured it, and when.
    again = tmp_path / "again"
    shutil.copytree(folder, again)
    assert run_experiment(build_run(pico_run), output=again) == first
    # Nor does one of a version that did not say what it computed on.
    older = json.loads(json.dumps(first))
    told = older["result"].pop("compute")
    (again / "result.json").write_text(json.dumps(older))
    assert run_experiment(build_run(pico_run), output=again) == first
    chosen = choose_compute()
    assert (told["device"], told["dtype"], told["reason"]) == (chosen.device, chosen.dtype, chosen.reason)
    for written in ("report.html", "adapters/uniform/README.md"):
        assert f"{chosen.dtype} on {chosen.device}" in (again / written).read_text()
    assert (folder / "report.html").stat().st_size > 10_000
    assert (folder / "adapters" / "uniform" / "README.md").exists()


def test_the_adapter_loads_with_plain_peft_onto_the_plainly_loaded_model(
    undisturbed: tuple[dict[str, Any], Path],
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from rankadaptor.named_models import load

    folder = undisturbed[1]
    adapter = folder / "adapters" / "uniform"
    plain = AutoModelForCausalLM.from_pretrained(folder / "pruned", trust_remote_code=True)
    plain = PeftModel.from_pretrained(plain, adapter).eval()
    ours = PeftModel.from_pretrained(load(folder / "pruned")[0], adapter).eval()
    tokens = AutoTokenizer.from_pretrained(folder / "pruned")("The quick brown fox", return_tensors="pt")
    with torch.no_grad():
        difference = plain(tokens["input_ids"]).logits - ours(tokens["input_ids"]).logits
    assert difference.abs().max() == 0.0
    loss = json.loads((adapter / "outcome.json").read_text())["loss"]
    assert loss < json.loads((folder / "result.json").read_text())["result"]["losses"]["pruned"]


def test_a_new_folder_is_a_new_account(
    pico_run: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def open_tracker(config: Any, digest: str, *, fresh: bool) -> Any:
        asked.append(fresh)
        raise StorageError("enough is known")

    monkeypatch.setattr(running_job, "open_tracker", open_tracker)
    for folder in ("one", "one", "two"):
        with pytest.raises(StorageError):
            run_experiment(build_run(pico_run), output=tmp_path / folder)
    assert asked == [True, False, True]


@pytest.mark.slow
@pytest.mark.parametrize("lines", [pytest.param(1, marks=pytest.mark.soak), 3])
def test_a_killed_run_continues_as_if_undisturbed(
    pico_run: dict[str, Any], tmp_path: Path, undisturbed: tuple[dict[str, Any], Path], lines: int
) -> None:
    values = {**pico_run, "output": str(tmp_path / "killed")}
    file = tmp_path / "run.yaml"
    file.write_text(dump_run(build_run(values)))
    command = [sys.executable, "-m", "rankadaptor", "run", str(file)]
    records = tmp_path / "killed" / "records.jsonl"
    driver = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (records.exists() and records.read_text().count("\n") >= lines):
        assert driver.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    assert not (tmp_path / "killed" / "result.json").exists()

    continued = run_experiment(load_run(file))
    expected, folder = undisturbed
    assert read_records(tmp_path / "killed") == read_records(folder)
    assert strip_result(continued) == strip_result(expected)


def test_two_workers_give_what_one_gives(
    pico_run: dict[str, Any], tmp_path: Path, undisturbed: tuple[dict[str, Any], Path]
) -> None:
    two = run_experiment(build_run({**pico_run, "compute": {"workers": 2}}), output=tmp_path)
    assert strip_result(two) == strip_result(undisturbed[0])


def test_a_diverging_rate_fails_its_trial_not_the_run(pico_run: dict[str, Any], tmp_path: Path) -> None:
    pico_run["recipe"]["tune"] = {
        "learning_rates": [1e30, 1e-3], "steps": 2, "initialisations": ["random", "gradient"],
    }  # fmt: skip
    document = run_experiment(build_run(pico_run), output=tmp_path)
    result = document["result"]
    statuses = {(each["learning_rate"], each["initialisation"]): each["status"] for each in result["tuning"]}
    for start in ("random", "gradient"):
        assert statuses[1e30, start] == "failed"
        assert statuses[1e-3, start] == "ok"
    assert result["recipe"]["learning_rate"] <= 1e-3
    losses = {each["initialisation"]: each["loss"] for each in result["tuning"] if each["loss"] is not None}
    chosen = result["recipe"].get("initialisation", "random")
    assert chosen in losses
    shown = build_tuning_table(read_result(tmp_path / "result.json"))
    assert shown.header[2] == "initialisation"
    assert {row[2] for row in shown.rows} == {"random", "gradient"}
    # Trials of both starts lie on disk, apart: the same command measures none of them again.
    (tmp_path / "steps" / "tune.json").unlink()
    measured = sorted((tmp_path / "tuning").glob("rate-0.001*.jsonl"))
    assert [path.name for path in measured] == ["rate-0.001-gradient.jsonl", "rate-0.001.jsonl"]
    before = [path.read_text() for path in measured]
    again = run_experiment(build_run(pico_run), output=tmp_path)["result"]
    assert again["recipe"] == result["recipe"]
    assert [path.read_text() for path in measured] == before


def test_a_run_with_two_objectives_keeps_the_front(pico_run: dict[str, Any], tmp_path: Path) -> None:
    pico_run["search"] |= {"objectives": ["loss", "parameters"], "evaluations": 2}
    front = run_experiment(build_run(pico_run), output=tmp_path)["result"]["search"]["front"]
    costs, gains = ([entry[key] for entry in front] for key in ("cost", "predicted_gain"))
    assert costs == sorted(set(costs))
    assert gains == sorted(gains)


def test_a_space_smaller_than_the_search_is_measured_whole(pico_run: dict[str, Any], tmp_path: Path) -> None:
    pico_run["space"] = {"slots": "block", "ranks": [1, 2, 3], "like_uniform": 2}
    pico_run["search"] |= {"evaluations": 40, "steps": 1}
    pico_run["recipe"]["tune"] = None
    result = run_experiment(build_run(pico_run), output=tmp_path)["result"]
    values = [tuple(entry["values"]) for entry in result["search"]["history"]]
    assert 1 <= len(values) < 40
    assert len(set(values)) == len(values)


def test_a_space_of_uniform_alone_is_refused_before_anything_is_trained(
    pico_run: dict[str, Any], tmp_path: Path
) -> None:
    pico_run["space"] = {"slots": "block", "ranks": [2], "like_uniform": 2}
    with pytest.raises(InputError, match="no allocation but uniform"):
        run_experiment(build_run(pico_run), output=tmp_path)
    assert not list(tmp_path.glob("**/*.jsonl"))


def test_a_name_with_the_ranks_of_another_points_to_its_adapter(
    pico_run: dict[str, Any], tmp_path: Path
) -> None:
    from rankadaptor.pipeline.finals import find_adapter, recover_all
    from rankadaptor.pipeline.preparation import load_space, pick_compute, prepare_model
    from rankadaptor.pipeline.run_folder import open_run
    from rankadaptor.pipeline.tuning import tune_setting

    pico_run["recipe"]["tune"] = None
    config = build_run(pico_run)
    compute = pick_compute(config)
    with open_run(tmp_path, config) as folder:
        prepare_model(folder, config, compute=compute)
        space = load_space(folder, config)
        source, _ = tune_setting(folder, config, space, setting=config.name, compute=compute)
        allocations = {"searched": space.reference(), "uniform": space.reference()}
        adapters = recover_all(folder, config, source, allocations)["adapters"]
        assert adapters["uniform"] == adapters["searched"]
        assert (find_adapter(folder, "uniform") / "adapter_model.safetensors").exists()
        assert find_adapter(folder, "uniform") == find_adapter(folder, "searched")


def test_a_search_that_began_without_a_trained_predictor_goes_on_without(
    pico_run: dict[str, Any], tmp_path: Path
) -> None:
    pico_run["search"]["predictor"] = "meta"
    config = build_run(pico_run)
    with open_run(tmp_path / "out", config) as folder:
        (folder.path / "predictor").mkdir()
        noted = folder.path / "predictor" / "untaught.json"  # as earlier versions left it
        noted.write_text('{"predictor": "ridge"}')
        assert choose_predictor(config, folder).name == "ridge"
        noted.write_text("[]")
        with pytest.raises(CheckpointError, match=r"untaught.json[\s\S]*Delete this file"):
            choose_predictor(config, folder)


def test_an_ensemble_has_the_trained_predictor_among_its_members(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the predictor comes with the package, wherever the run is started
    folder: Any = SimpleNamespace(path=tmp_path)
    chosen: Any = choose_predictor(build_run({"search": {"predictor": "ensemble"}}), folder)
    assert [member.name for member in chosen.members] == ["meta", "gaussian_process", "ridge"]
    assert chosen.pretrained
    assert (tmp_path / "predictor").is_dir()  # a copy, so that a continued run asks the same one
    absent = {"search": {"predictor": "meta", "predictor_path": str(tmp_path / "absent")}}
    with pytest.raises(CheckpointError, match="absent: no predictor here"):
        choose_predictor(build_run(absent), SimpleNamespace(path=tmp_path / "b"))  # type: ignore[arg-type]
