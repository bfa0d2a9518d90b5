"""Corpora with a known truth: gains from planted effects of allocations and seeds, and noise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from rankadaptor.components.adapter import count_parameters
from rankadaptor.corpus import Corpus, Record, Setting
from rankadaptor.features import feature_names, mean_features
from rankadaptor.space import Space
from tests.predictor.oracle import make_space

RECOVERED = 0.5  # nats per token that uniform wins back
STEPS = 100


def make_setting(name: str, space: Space, **changes: Any) -> Setting:
    fields: dict[str, Any] = {
        "name": name,
        "model": {"name": "planted"},
        "pruning": {
            "ratio": 0.3,
            "settings": {"scope": "local", "targets": ["heads"], "importance": "taylor"},
        },
        "data": {"train": "kit:text"},
        "recipe": {"learning_rate": 2e-3, "steps": STEPS},
        "space": space.to_json(),
        "pruned_loss": 4.0 + RECOVERED,
        "dense_loss": 3.9,
    }
    return Setting(**(fields | changes))


def plant_setting(
    corpus: Corpus,
    name: str,
    *,
    seed: int,
    spread: float = 0.0,
    noise: float = 0.001,
    shared: float = 0.001,
    shift: float = 0.0,
    allocations: int = 60,
    repeated: int = 8,
    seeds: int = 5,
    lengths: tuple[int, ...] = (STEPS,),
    blocks: int = 4,
    held_out: bool = False,
) -> None:
    """Measure a setting: `allocations` under one seed, some of them under further seeds and at other lengths.

    The true effect of an allocation is its tilt towards the last block, scaled to the SD `spread`, plus
    `shift`.
    """
    space = make_space(blocks=blocks)
    corpus.add_setting(make_setting(name, space, held_out=held_out))
    generator = np.random.default_rng(seed)
    choices = np.unique(space.sample_choices(2 * allocations, seed), axis=0)
    choices = choices[generator.permutation(len(choices))[:allocations]]
    labels = space.read_labels(choices)
    column = feature_names(space, depth="polynomial").index("depth:1")
    tilt = mean_features(space, choices, depth="polynomial")[:, column]
    centred = tilt - (tilt.mean() if len(tilt) else 0.0)
    effects = shift + spread * centred / (tilt.std() if len(tilt) > 1 else 1.0)
    repeats = set(np.linspace(0, len(choices) - 1, repeated).astype(int).tolist())
    lines = [describe(name, space.reference().values, 0, steps, 4.0, 4.0, space) for steps in lengths]
    for run in range(seeds):
        luck = shared * generator.normal()
        for steps in lengths if run == 0 else lengths[-1:]:
            for row in range(len(choices)) if run == 0 else sorted(repeats):
                gain = effects[row] + luck + noise * generator.normal()
                lines.append(describe(name, labels[row], run, steps, 4.0 - gain, 4.0, space))
    path = corpus.folder / "records" / f"{name}.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def describe(
    name: str, values: Any, seed: int, steps: int, loss: float, uniform: float, space: Space
) -> dict[str, Any]:
    record = Record.of_fine_tune(
        setting=name, values=tuple(values), seed=seed, steps=steps, fidelity=steps / STEPS, loss=loss,
        loss_reference=uniform, parameters=count_parameters(space, values), tokens=1000 * steps, seconds=1.0,
        commit="abc",
    )  # fmt: skip
    return record.to_json()


def write_study(corpus: Corpus, name: str, *, seed: int = 0) -> None:
    """Write a study with every part, made up but of the right shape."""
    space = corpus.space(name)
    generator = np.random.default_rng(seed)
    uniform = list(space.reference().values)
    others = [list(allocation.values) for allocation in space.sample(10, seed=seed)]
    rates = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3)
    by_rate = {rate: 4.0 + 0.05 * np.log2(rate / 2e-3) ** 2 for rate in rates}
    effects = 0.01 * generator.normal(size=len(others))
    trials = [
        {"values": values, "learning_rate": rate, "seed": run, "steps": STEPS, "loss": by_rate[rate] - effect,
         "loss_uniform": by_rate[rate]}
        for run in range(3)
        for rate in rates
        for values, effect in zip([uniform, *others], [0.0, *effects], strict=True)
    ]  # fmt: skip
    scores = {bench: {"value": 0.5, "stderr": 0.02} for bench in ("boolq", "piqa", "hellaswag")}
    models = [
        {"values": values, "seed": 0, "loss": 4.0 + 0.1 * place, "role": role,
         "scores": {bench: {**score, "value": 0.6 - 0.02 * place} for bench, score in scores.items()}}
        for place, (values, role) in enumerate(
            zip([*others[:5], uniform, *others[5:]], ["best"] * 5 + ["uniform"] + ["worst"] * 5, strict=True)
        )
    ]  # fmt: skip
    study = {
        "schema": 1,
        "setting": name,
        "learning_rates": [{"learning_rate": rate, "values": uniform, "seed": 0, "loss": by_rate[rate]} for
        rate in rates], "rates_by_allocation": trials, "exponents": [
            {"exponent": exponent, "learning_rate": 2e-3, "values": values, "seed": run, "loss": 4.0 - effect
            * exponent,
             "loss_uniform": 4.0}
            for exponent in (0.0, 0.5, 1.0)
            for run in range(3)
            for values, effect in zip(others, effects, strict=True)
        ],
        "curve": [{"steps": s, "tokens": 1000 * s, "loss": 4.0 + 0.5 * 0.9**s} for s in (5, 10, 20, 40, 80)],
        "benchmarks": models,
    }  # fmt: skip
    path = corpus.folder / "studies" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(study), encoding="utf-8")


def plant_corpus(folder: Path, count: int = 1, **choices: Any) -> Corpus:
    corpus = Corpus.create(folder)
    for seed in range(count):
        plant_setting(corpus, f"planted-{seed}", seed=seed, **choices)
    return Corpus.load(folder)
