"""Trials that take milliseconds and are known beforehand, to which accidents may happen as to real ones."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankadaptor.components.adapter import RankSpace, count_parameters
from rankadaptor.corpus import Record
from rankadaptor.pipeline.data_split import DataSplit
from rankadaptor.pipeline.execution import Execution
from rankadaptor.pipeline.trial_source import TrialSource
from rankadaptor.pipeline.trials import Job
from rankadaptor.recipe import Recipe
from rankadaptor.runtime import Compute


@dataclass(frozen=True)
class Linear:
    name: str
    block: int
    kind: str
    in_features: int = 32
    out_features: int = 32


SPACE = RankSpace.from_linears(
    [Linear(f"model.layers.{block}.mlp.up_proj", block, "up_proj") for block in range(3)],
    like_uniform=4,
    slots="block",
    model="quick",
)
SECONDS = 0.02


def make_source(folder: Path, **execution: Any) -> TrialSource:
    return TrialSource(
        model=folder / "pruned",
        space=SPACE,
        recipe=Recipe(steps=100),
        split=DataSplit({}, {}),
        steps=24,
        setting="quick",
        records=folder / "records.jsonl",
        compute=Compute(device="cpu", dtype="float32", threads=1, reason="a test"),
        execution=Execution(**execution),
    )


def make_jobs(count: int, *, seeds: tuple[int, ...] = (0,)) -> list[Job]:
    return [Job(allocation, seed, 24) for seed in seeds for allocation in SPACE.sample(count, seed=0)]


def cause(accidents: dict[str, str], folder: Path) -> None:
    """Write down what happens to which trial, given as `seed-rank of the first slot`."""
    (folder / "accidents.json").write_text(json.dumps(accidents))


def name_trial(values: tuple[int, ...], seed: int) -> str:
    return f"{seed}:" + ",".join(map(str, values))


def build_quick_trials(source: TrialSource) -> Callable[..., Record]:
    """Stand in for `build_trials`, which loads a model."""
    folder = source.records.parent

    def run(
        values: tuple[int, ...], seed: int, steps: int, loss_uniform: float | None, recipe: Recipe
    ) -> Record:
        time.sleep(SECONDS)
        name = name_trial(values, seed)
        plan = folder / "accidents.json"
        accident = json.loads(plan.read_text()).get(name, "") if plan.exists() else ""
        mark = folder / f"happened-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        if accident.startswith("once ") and mark.exists():
            accident = ""
        mark.touch()
        if accident.endswith("killed"):
            os.kill(os.getpid(), signal.SIGKILL)
        if accident.endswith("out of memory"):
            bytearray(1 << 60)
        if accident.endswith("hung"):
            time.sleep(1000)
        digest = hashlib.sha256(f"{name} {steps} {recipe.learning_rate}".encode()).digest()
        loss = 4.0 + digest[0] / 1000 + digest[1] / 1e6
        uniform = values == SPACE.reference().values
        record = Record.of_fine_tune(
            setting=source.setting,
            values=values,
            seed=seed,
            steps=steps,
            fidelity=steps / recipe.steps,
            loss=loss,
            loss_reference=loss if uniform else loss_uniform,
            parameters=count_parameters(SPACE, values),
            tokens=steps,
            seconds=SECONDS,
            sequence_losses=tuple(loss + place / 100 for place in range(8)),
        )
        if accident == "diverged":
            metrics = {"loss_reference": record.metrics["loss_reference"]}
            return dataclasses.replace(record, status="failed", error="the loss became NaN", metrics=metrics)
        return record

    return run
