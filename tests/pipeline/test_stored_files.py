"""What a finished step left is what a continued run reads: other content is named, with the remedy."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rankadaptor.cli.scoring import score_models
from rankadaptor.config import build_run
from rankadaptor.errors import CheckpointError
from rankadaptor.pipeline import run_experiment
from rankadaptor.pipeline.finals import evaluate_one
from rankadaptor.pipeline.preparation import pick_compute
from rankadaptor.pipeline.run_folder import open_run
from tests.pipeline.comparing import strip_result


@pytest.fixture
def finished(undisturbed: tuple[dict[str, Any], Path], tmp_path: Path) -> Path:
    """A copy of a whole run's folder."""
    return Path(shutil.copytree(undisturbed[1], tmp_path / "finished"))


@pytest.fixture
def again(pico_run: dict[str, Any], finished: Path) -> Callable[[], dict[str, Any]]:
    return lambda: run_experiment(build_run(pico_run), output=finished)


def flip(path: Path, place: int = -3) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)


def test_flipped_bytes_are_named_and_mended(
    again: Callable[[], dict[str, Any]],
    finished: Path,
    undisturbed: tuple[dict[str, Any], Path],
    pico_folder: Path,
    pico_run: dict[str, Any],
) -> None:
    weights = finished / "pruned" / "model.safetensors"
    flip(weights)
    with pytest.raises(
        CheckpointError, match=r"pruned/model\.safetensors: not what was written \(SHA-256 stored .* --fresh"
    ):
        again()
    flip(weights)

    adapter = finished / "adapters" / "uniform"
    whole = (adapter / "adapter_model.safetensors").read_bytes()
    saved_again = r"outcome\.json and .*steps/recover\.json and run the same command again"
    flip(adapter / "adapter_model.safetensors")
    with pytest.raises(
        CheckpointError, match=rf"uniform/adapter_model\.safetensors: not what .*{saved_again}"
    ):
        again()
    (adapter / "adapter_model.safetensors").write_bytes(whole[:100])
    with pytest.raises(
        CheckpointError, match=rf"uniform/adapter_model\.safetensors: not what .*{saved_again}"
    ):
        again()
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(
        CheckpointError, match=rf"uniform/adapter_model\.safetensors: missing\. .*{saved_again}"
    ):
        again()
    # The remedy that is named: nothing is trained again, and the adapter is what it was.
    (adapter / "outcome.json").unlink()
    (finished / "steps" / "recover.json").unlink()
    assert strip_result(again()) == strip_result(undisturbed[0])
    assert (adapter / "adapter_model.safetensors").read_bytes() == whole

    # The unpruned model is not the one that the adapter was trained for.
    with pytest.raises(CheckpointError, match=r"was trained on the weights .*pruned.*, but the model has"):
        score_models(build_run(pico_run), model=str(pico_folder), adapter=adapter)


def test_runs_of_earlier_versions_continue(
    again: Callable[[], dict[str, Any]],
    finished: Path,
    undisturbed: tuple[dict[str, Any], Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    step = finished / "steps" / "prepare.json"
    prepared = json.loads(step.read_text())
    assert prepared.pop("files")
    step.write_text(json.dumps(prepared))
    for about in finished.glob("adapters/*/rankadaptor.json"):
        about.unlink()
    with caplog.at_level(logging.INFO, logger="rankadaptor"):
        assert again() == undisturbed[0]
    assert sum("written by an earlier version, without digests" in each for each in caplog.messages) == 2


def test_adapters_that_have_changed_places_are_noticed(
    again: Callable[[], dict[str, Any]], finished: Path, undisturbed: tuple[dict[str, Any], Path]
) -> None:
    def swap() -> None:
        uniform, searched = finished / "adapters" / "uniform", finished / "adapters" / "searched"
        uniform.rename(finished / "third")
        searched.rename(uniform)
        (finished / "third").rename(searched)

    swap()
    with pytest.raises(CheckpointError, match=r"adapters/.*: holds another adapter than the step recover"):
        again()
    (finished / "steps" / "recover.json").unlink()
    with pytest.raises(CheckpointError, match=r"adapters/uniform: holds an adapter with other ranks"):
        again()
    swap()
    assert strip_result(again()) == strip_result(undisturbed[0])


def test_other_weights_under_the_name_of_the_model_are_not_mixed_with_what_was_measured(
    pico_run: dict[str, Any],
    finished: Path,
    pico_folder: Path,
    pico_model: Callable[..., Any],
    tmp_path: Path,
    undisturbed: tuple[dict[str, Any], Path],
) -> None:
    model = Path(shutil.copytree(pico_folder, tmp_path / "model"))
    config = build_run({**pico_run, "model": str(model)})
    for stored in finished.glob("run*.yaml"):
        stored.write_text(stored.read_text().replace(str(pico_folder), str(model)))
    pico_model("llama", blocks=3, seed=1).save_pretrained(model)

    with open_run(finished, config) as folder, pytest.raises(CheckpointError, match=r"pruned other weights"):
        evaluate_one(
            name="dense", folder=folder, dense=str(model), benchmarks=["boolq"], limit=1,
            compute=pick_compute(config),
        )  # fmt: skip

    # Pruned again over measurements: they are not replayed for another model.
    records = (finished / "records.jsonl").read_text()
    pruned = (finished / "pruned" / "model.safetensors").read_bytes()
    shutil.rmtree(finished / "steps")
    with pytest.raises(CheckpointError, match=r"belong to others: the pruned model .* → .*Restore"):
        run_experiment(config, output=finished)
    assert (finished / "records.jsonl").read_text() == records
    assert (finished / "pruned" / "model.safetensors").read_bytes() == pruned

    shutil.copytree(pico_folder, model, dirs_exist_ok=True)
    assert strip_result(run_experiment(config, output=finished)) == strip_result(undisturbed[0])
    assert (finished / "records.jsonl").read_text() == records
