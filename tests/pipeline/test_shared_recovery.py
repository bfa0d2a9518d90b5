"""The full fine-tunes under `accelerate launch`: two processes do what one does with the same batch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from rankadaptor.cli import main
from tests.bench import make_bench
from tests.documents import ROOT


@pytest.fixture
def bench(tmp_path, monkeypatch, pico_model, pico_tokenizer):
    monkeypatch.chdir(tmp_path)
    return make_bench(tmp_path, monkeypatch, pico_model, pico_tokenizer)


def launch(run_file: str, *, processes: int) -> subprocess.CompletedProcess[str]:
    # accelerate starts several local processes with --multi_gpu alone, also where there is no GPU.
    words = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes)]
    words += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    words += ["--main_process_port", "0"]
    words += ["-m", "rankadaptor", "recover", run_file]
    return subprocess.run(
        [sys.executable, "-m", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_two_processes_train_what_one_trains_with_the_whole_batch(bench, capsys) -> None:
    from peft import PeftModel

    import rankadaptor as ra

    changes: dict[str, Any] = {"recover__steps": 5, "recover__evaluate_every": 2}
    changes["recipe__initialisation"] = "gradient"  # every process must begin where the leader does
    changes["compute"] = {"device": "cpu", "dtype": "float32"}
    _, run_file = bench.command("run", **changes)
    assert main(["recover", run_file]) == 2
    assert "--until verdict" in capsys.readouterr().err
    assert main(["run", run_file, "--until", "verdict"]) == 0
    shown = capsys.readouterr().out
    assert "-step fine-tunes on fresh seeds (the recovery has 5 steps)" in shown
    assert "At the full length of 5 steps the two were not compared" in shown
    assert not (bench.output / "adapters").exists()
    assert main(["recover", run_file]) == 0  # one process, in batches of four
    alone = read_adapters(bench.output)
    shutil.rmtree(bench.output / "adapters")
    (bench.output / "steps" / "recover.json").unlink()

    done = launch(run_file, processes=2)  # two processes, two sequences each
    assert done.returncode == 0, done.stderr[-3000:]
    assert "2 processes share each batch (gloo)" in done.stderr, done.stderr
    assert done.stdout.count("uniform: held-out loss") == 1
    together = read_adapters(bench.output)
    assert together.keys() == alone.keys()
    for name, (outcome, weights) in alone.items():
        shared, shared_weights = together[name]
        assert shared["loss"] == pytest.approx(outcome["loss"], abs=1e-5)
        assert [point["loss"] for point in shared["curve"]] == pytest.approx(
            [point["loss"] for point in outcome["curve"]], abs=1e-5
        )
        assert len(shared["curve"]) == 3
        assert shared["tokens"] == outcome["tokens"]
        assert all((shared_weights[key] - value).abs().max() < 1e-4 for key, value in weights.items())

    model, _ = ra.load(bench.output / "pruned")
    PeftModel.from_pretrained(model, bench.output / "adapters" / "uniform")
    assert main(["run", run_file]) == 0  # goes on from there
    result = json.loads((bench.output / "result.json").read_text())["result"]
    assert result["recovered"]["uniform"]["loss"] == together["uniform"][0]["loss"]


def read_adapters(output: Path) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Return outcome and weights of every adapter of a run."""
    return {
        folder.name: (
            json.loads((folder / "outcome.json").read_text()),
            load_file(folder / "adapter_model.safetensors"),
        )
        for folder in sorted((output / "adapters").iterdir())
        if (folder / "outcome.json").exists()
    }
