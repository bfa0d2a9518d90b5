"""Compare initialisations of an adapter of uniform ranks, by paired full recoveries on fresh seeds.

    python -m experiments.starts experiments/collect/mistral-global60-r2-linear.yaml [...]

Each initialisation uses the best of the same six learning rates, tried on one further seed. It is then
recovered on five fresh seeds, paired with the default initialisation at the setting's own rate. Continues an
interrupted study; writes `experiments/results/starts.json` and `docs/beyond-ranks.md`.

`pissa` and `olora` [PEFT]_ subtract their initialisation from the base weights. For plain PEFT on the
unchanged model such an adapter has to be saved at twice the rank, so run files do not offer them.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import functools
import json
import logging
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import EvaConfig, get_peft_model, initialize_lora_eva_weights

from experiments.compare.contest import merge_rows
from experiments.compare.prepared_setting import PreparedSetting, prepare_setting
from experiments.starts.page import write_starts
from rankadaptor.components.adapter import read_sizes
from rankadaptor.components.adapter.lora.attach import adapt_temporarily, lora_config
from rankadaptor.config import load_run
from rankadaptor.data.sequences import draw_batches, make_batch
from rankadaptor.errors import TrainingError
from rankadaptor.evaluation.heldout import measure_loss
from rankadaptor.files import append_line
from rankadaptor.measure.fine_tune import ShortFineTune
from rankadaptor.pipeline.trials import build_measure
from rankadaptor.recipe import GRADIENT, RANDOM, Recipe
from rankadaptor.results.table import write_gain
from rankadaptor.runtime import find_commit
from rankadaptor.training import fine_tune
from rankadaptor.verdict import SMALLEST_SHARE, judge_gains

logger = logging.getLogger(__name__)

RESULT, DOCUMENT = Path("experiments/results/starts.json"), Path("docs/beyond-ranks.md")
OVERRIDES = ("search.steps=32", "recover.steps=64", "recipe.tune.steps=64")
OCTAVES = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0)
TUNING_SEED, FIRST_SEED, SEEDS = 1500, 2500, 5
CONFIDENCE = 0.95
EVA_BATCHES = 16

Train = Callable[[ShortFineTune, PreparedSetting, Recipe, int], float]


def main() -> None:
    """Measure every initialisation in every given setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="+")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    for file in given.files:
        config = load_run(file, OVERRIDES)
        with prepare_setting(config, Path("runs/compare/starts") / config.name, workers=1) as prepared:
            rows = measure_setting(prepared)
        write_starts(merge_rows(RESULT, rows, keys=("setting", "way")), file=DOCUMENT)


def measure_setting(prepared: PreparedSetting) -> list[dict[str, Any]]:
    """Tune and judge every initialisation in one setting."""
    short, own = build_measure(prepared.source), prepared.source.recipe
    known = StoredLosses(prepared.folder.path / "starts.jsonl")
    seeds = range(FIRST_SEED, FIRST_SEED + SEEDS)
    default = functools.partial(train_uniform, short, prepared)
    plain = [known.measure("random", own, seed, default) for seed in seeds]
    rows = []
    for way, train in WAYS.items():
        rates = [own.learning_rate * 2**octave for octave in OCTAVES]
        run = functools.partial(train, short, prepared)
        tried = [known.measure(way, own.replace(learning_rate=rate), TUNING_SEED, run) for rate in rates]
        rate = rates[int(np.argmin([math.inf if loss is None else loss for loss in tried]))]
        losses = [known.measure(way, own.replace(learning_rate=rate), seed, run) for seed in seeds]
        pairs = [(p, loss) for p, loss in zip(plain, losses, strict=True) if p is not None]
        gains = [p - loss for p, loss in pairs if loss is not None]
        judged = judge_gains(gains, confidence=CONFIDENCE)
        if len(gains) < SMALLEST_SHARE * SEEDS:  # failures are not random
            judged = dataclasses.replace(judged, outcome="no difference", reason="too many pairs failed")
        sound = [loss for loss in losses if loss is not None]
        reference = [p for p in plain if p is not None]
        rows.append(
            {
                "setting": prepared.config.name,
                "way": way,
                "learning_rate": rate,
                "own_rate": own.learning_rate,
                "loss": float(np.mean(sound)) if sound else None,
                "gain": judged.gain,
                "gain_low": judged.low,
                "gain_high": judged.high,
                "outcome": judged.outcome,
                "gains": gains,
                "seeds": len(gains),
                "failures": SEEDS - len(gains),
                "steps": own.steps,
                "regained": prepared.losses["pruned"] - float(np.mean(reference)) if reference else None,
                "tried": {f"{each:.4g}": loss for each, loss in zip(rates, tried, strict=True)},
                "commit": find_commit(),
            }
        )
        logger.info("%s · %s: %s (%s)", prepared.config.name, way, write_gain(judged.gain), judged.outcome)
    return rows


class StoredLosses:
    """Losses in a file, each appended as soon as it is measured."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text("utf-8").splitlines() if path.is_file() else []
        self.losses: dict[tuple[str, ...], float | None] = {
            tuple(map(str, key)): loss for key, loss in map(json.loads, lines)
        }

    def measure(
        self, way: str, recipe: Recipe, seed: int, run: Callable[[Recipe, int], float]
    ) -> float | None:
        """Return a held-out loss, measured now or before; None if the run failed."""
        key = (way, f"{recipe.learning_rate:.6g}", str(seed))
        if key not in self.losses:
            try:
                loss: float | None = run(recipe, seed)
            except TrainingError as error:
                logger.warning("%s: %s", way, error)
                loss = None
            self.losses[key] = loss if loss is not None and math.isfinite(loss) else None
            append_line(self.path, json.dumps([key, self.losses[key]]))
        return self.losses[key]


def train_uniform(
    short: ShortFineTune,
    prepared: PreparedSetting,
    recipe: Recipe,
    seed: int,
    *,
    start: str = RANDOM,
    scale: float = 1.0,
) -> float:
    """Recover uniform ranks with an initialisation of this package."""
    changed = recipe.replace(initialisation=start, scale_at_reference=recipe.scale_at_reference * scale)
    with adapt_temporarily(short.model, prepared.space.reference(), changed, seed=seed) as model:
        return train(model, short, changed, seed)


def train_stabilised(short: ShortFineTune, prepared: PreparedSetting, recipe: Recipe, seed: int) -> float:
    """Recover uniform ranks with the scale alpha / sqrt(r) [rsLoRA]_ instead of alpha / r."""
    return train_uniform(
        short, prepared, recipe, seed, scale=math.sqrt(max(read_sizes(prepared.space.reference())))
    )


def train_peft(
    short: ShortFineTune, prepared: PreparedSetting, recipe: Recipe, seed: int, *, start: str
) -> float:
    """Recover uniform ranks with one of PEFT's initialisations, on a copy of the model."""
    config = lora_config(prepared.space.reference(), recipe)
    config.init_lora_weights = start
    if start == "eva":
        config.eva_config = EvaConfig(rho=1.0)  # ranks stay as they are
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        model = get_peft_model(copy.deepcopy(short.model), config)
        if start == "eva":
            size = recipe.batch_size
            drawn = draw_batches(len(short.sequences), batch_size=size, steps=EVA_BATCHES, seed=seed)
            data = [make_batch([short.sequences[index] for index in batch], pad_id=0) for batch in drawn]
            initialize_lora_eva_weights(
                model, data, forward_fn=lambda network, inputs: network(**inputs), show_progress_bar=False
            )
    return train(model, short, recipe, seed)


def train(model: Any, short: ShortFineTune, recipe: Recipe, seed: int) -> float:
    """Train an adapter and return the held-out loss, nats per token."""
    sequences: Sequence[Any] = short.sequences
    fine_tune(model, sequences, recipe=recipe, steps=recipe.steps, seed=seed, compute=short.compute)
    return measure_loss(model, short.held_out, compute=short.compute).mean


WAYS: dict[str, Train] = {
    "random": train_uniform,
    "gradient": functools.partial(train_uniform, start=GRADIENT),
    "eva": functools.partial(train_peft, start="eva"),
    "rslora": train_stabilised,
    "pissa": functools.partial(train_peft, start="pissa"),
    "olora": functools.partial(train_peft, start="olora"),
}


if __name__ == "__main__":
    main()
