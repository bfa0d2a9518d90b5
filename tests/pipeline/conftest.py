"""A whole run at pico size: a random model, forty rows of text, a few steps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from rankadaptor.pipeline.trial_source import TrialSource


@pytest.fixture(scope="session")
def pico_folder(
    tmp_path_factory: pytest.TempPathFactory, pico_model: Callable[..., Any], pico_tokenizer: Any
) -> Path:
    """A saved pico Llama with its tokenizer."""
    folder = tmp_path_factory.mktemp("pico") / "model"
    pico_model("llama", blocks=3).save_pretrained(folder)
    pico_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def pico_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty short instruction rows."""
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    rows = [
        {"prompt": f"Question: what follows {number}? Answer:", "response": f" the number {number + 1}."}
        for number in range(40)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def pico_run(pico_folder: Path, pico_rows: Path, tmp_path: Path) -> dict[str, Any]:
    """The values of a run file that takes seconds; tests change what they are about."""
    return describe_run(pico_folder, pico_rows, output=tmp_path / "out")


@pytest.fixture(scope="session")
def undisturbed(
    pico_folder: Path, pico_rows: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Path]:
    """The document and the folder of a whole `pico_run` with one worker; tests only read them."""
    from rankadaptor.config import build_run
    from rankadaptor.pipeline import run_experiment

    folder = tmp_path_factory.mktemp("undisturbed")
    values = describe_run(pico_folder, pico_rows, output=folder / "out")
    return run_experiment(build_run(values), output=folder), folder


def describe_run(model: Path, rows: Path, *, output: Path) -> dict[str, Any]:
    """Describe a whole run at pico size."""
    return {
        "name": "pico",
        "output": str(output),
        "model": str(model),
        "prune": {
            "ratio": 0.3,
            "scope": "global",
            "align": 4,
            "calibration": {"source": str(rows), "examples": 4, "length": 16},
        },
        "data": {"train": str(rows), "train_rows": None, "held_out_rows": 8},
        "space": {"slots": "half_block", "ranks": [0, 1, 2, 3, 4], "like_uniform": 2},
        "recipe": {
            "batch_size": 4,
            "micro_batch_size": 4,
            "sequence_length": 32,
            "tune": {"learning_rates": [1e-3, 1e-2], "steps": 2},
        },
        "search": {"predictor": "ridge", "evaluations": 4, "batch": 2, "steps": 2, "candidates": 50},
        "confirm": {"seeds": 2},
        "recover": {"steps": 4},
        "evaluate": {"benchmarks": []},
        "track": {"enabled": False},
    }


@pytest.fixture
def pico_source(pico_run: dict[str, Any], tmp_path: Path) -> Callable[..., TrialSource]:
    """Return a factory of trial sources of the pruned pico model, given changes of `compute`."""
    from rankadaptor.config import build_run
    from rankadaptor.pipeline.preparation import load_space, pick_compute, prepare_model
    from rankadaptor.pipeline.run_folder import open_run
    from rankadaptor.pipeline.tuning import tune_setting

    def build(**compute: Any) -> TrialSource:
        pico_run["recipe"]["tune"] = None
        config = build_run({**pico_run, "compute": compute})
        chosen = pick_compute(config)
        with open_run(tmp_path / "out", config) as folder:
            folder.complete("prepare", lambda: prepare_model(folder, config, compute=chosen))
            space = load_space(folder, config)
            return tune_setting(folder, config, space, setting="pico", compute=chosen)[0]

    return build
