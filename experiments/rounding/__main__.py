"""Recover a dense model with all linears in one type: rounded afterwards, or trained through the rounding.

    python -m experiments.rounding

Every training leaves its row in `experiments/results/rounding.json` and is not repeated; one that was cut off
continues from its checkpoint. Only rows with the same `run` had the same data and texts.
"""

from __future__ import annotations

import argparse
import copy
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from experiments.program import run_program
from rankadaptor.components.precision.formats import find_format
from rankadaptor.components.precision.rounding import find_rounding
from rankadaptor.config import CompressConfig, load_job
from rankadaptor.data.text_sets import TRAINING
from rankadaptor.errors import InputError
from rankadaptor.evaluation.heldout import measure_loss
from rankadaptor.files import read_json, write_json
from rankadaptor.methods import DERIVED, FIXED, Scales
from rankadaptor.model.families import describe_linears
from rankadaptor.pipeline.compression.recovering import Recovered, recover_merged
from rankadaptor.pipeline.compression.run_recipe import make_run_recipe
from rankadaptor.pipeline.compression.setting import Setting
from rankadaptor.pipeline.run_folder import RunFolder
from rankadaptor.runtime import find_commit

logger = logging.getLogger(__name__)

FILE = Path("experiments/rounding/smollm2-135m.yaml")
RESULT = Path("experiments/results/rounding.json")
TYPES = ("Q4_1", "IQ4_NL", "Q4_0", "A3G32")
AFTERWARDS = "rounded afterwards"
FLOAT = "float"
NONE = "none"
KEYS = ("run", "type", "training", "learning_rate")
Row = dict[str, Any]


def main() -> None:
    """Measure what is missing, or with a name for each the types that are given."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--file", type=Path, default=FILE, help=f"run file of compress; {FILE} by default")
    parser.add_argument("--types", nargs="+", default=TYPES, help=f"{' '.join(TYPES)} by default")
    parser.add_argument(
        "--rates", nargs="+", type=float, default=[3e-3], help="learning rates; 3e-3 by default"
    )
    parser.add_argument("--scales", nargs="+", default=[FIXED, DERIVED], help="trained with; both by default")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a key of the run file"
    )
    parser.add_argument("--into", type=Path, default=RESULT, help=f"result file; {RESULT} by default")
    given = parser.parse_args()
    config = load_job(given.file, given.set)
    if not isinstance(config, CompressConfig) or config.recover is None:
        raise InputError(f"{given.file}: no run file of compress with a recovery. Give one with both.")
    setting = Setting.of_run(RunFolder(Path(config.output), config.digest(), config=config), config)
    study = Study(setting, given.into)
    for kind in given.types:
        study.add(kind, NONE, None)
    for rate in given.rates:
        study.add(None, FLOAT, rate)
        for kind in given.types:
            study.add(kind, AFTERWARDS, rate)
        for kind in given.types:
            for scales in given.scales:
                study.add(kind, scales, rate)
    sys.stdout.write(f"wrote {given.into}: {len(study.rows)} rows\n")


class Study:
    """The rows of a result file, and the models that further rows need.

    Args:
        setting: Model, texts and recipe.
        file: The result file.
    """

    def __init__(self, setting: Setting, file: Path) -> None:
        self.setting, self.file = setting, file
        self.rows: list[Row] = read_json(file) if file.exists() else []
        self._floats: dict[float, Recovered] = {}

    def add(self, kind: str | None, training: str, rate: float | None) -> None:
        """Measure a row and write the file, unless the row is there.

        Args:
            kind: Type of all linears; None leaves them as they are.
            training: `none`, `float`, `rounded afterwards`, or the scales of a training through the rounding.
            rate: Learning rate.
        """
        run = self.setting.config.digest()
        key = (run, kind, training, rate)
        if any(tuple(row[name] for name in KEYS) == key for row in self.rows):
            return
        recovered = self._recover(kind, training, rate) if rate is not None else None
        model = self.setting.model if recovered is None else recovered.model
        if kind is not None and training in (NONE, AFTERWARDS):
            model = round_linears(model, kind)
        parts = self.setting.texts.judging
        losses = {
            part: measure_loss(model, self.setting.texts[part], compute=self.setting.compute).mean
            for part in parts
        }
        row: Row = {
            "setting": self.setting.config.model,
            "run": run,
            "type": kind,
            "training": training,
            "learning_rate": rate,
            **{f"loss_{part}": loss for part, loss in losses.items()},
            "tokens": 0 if recovered is None else recovered.tokens,
            "seconds": 0.0 if recovered is None else round(recovered.seconds, 1),
            "precision": self.setting.compute.dtype,
            "commit": find_commit(),
        }
        logger.info("%s, %s: %s", kind, training, {part: round(loss, 4) for part, loss in losses.items()})
        self.rows.append(row)
        write_json(self.file, self.rows)

    def _recover(self, kind: str | None, training: str, rate: float) -> Recovered:
        if training not in (FLOAT, AFTERWARDS):
            assert kind is not None
            return self._train(kind, DERIVED if training == DERIVED else FIXED, rate)
        if rate not in self._floats:
            self._floats[rate] = self._train(None, FIXED, rate)
        return self._floats[rate]

    def _train(self, kind: str | None, scales: Scales, rate: float) -> Recovered:
        setting, model = self.setting, copy.deepcopy(self.setting.model)
        given = setting.config.recover
        assert given is not None
        types = dict.fromkeys(list_fitting(model, kind), kind) if kind is not None else {}
        label = f"{kind}-{scales}-{rate:g}" if kind is not None else f"{FLOAT}-{rate:g}"
        return recover_merged(
            model,
            make_run_recipe(setting, steps=given.steps, rate=rate),
            sequences=setting.texts[TRAINING],
            steps=given.steps,
            seed=setting.config.seed,
            compute=setting.compute,
            checkpoint=setting.folder.path / f"{setting.config.digest()}-{label}",
            types=types,
            scales=scales,
        )


def list_fitting(model: Any, kind: str) -> Sequence[str]:
    """Return the linears of the blocks whose rows fit a type."""
    return [each.name for each in describe_linears(model) if find_format(kind).allows(each.in_features)]


def round_linears(model: Any, kind: str) -> Any:
    """Return a copy of a model whose linears were rounded to a type."""
    rounded, round_weight = copy.deepcopy(model), find_rounding(kind)
    with torch.no_grad():
        for name in list_fitting(rounded, kind):
            weight = rounded.get_submodule(name).weight
            weight.copy_(round_weight(weight.detach().float()))
    return rounded


if __name__ == "__main__":
    run_program(main)
