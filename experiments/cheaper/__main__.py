"""Compare cheap measures of allocations with full-length fine-tunes, inside a setting of the corpus.

    python -m experiments.cheaper experiments/collect/llama-global70-r2-linear.yaml --full 192

Continues where it stopped; `--seconds` limits its time. Measurements go to `runs/cheaper`; records of the
corpus are not measured again. Results are added to `experiments/results/cheaper.json`.

The target is the gain at full length under a fresh seed, so that noise shared by a cheap measure and the long
run does not count. The ceiling is the full length under the search's own seed. The floor is the closeness of
an allocation to uniform, which needs no measurement. `beyond_closeness` is the partial rank correlation given
closeness.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from experiments.cheaper.halving import RESULT, replay_halving
from rankadaptor.components.adapter.lora import adapt_temporarily
from rankadaptor.config import RunConfig, load_run
from rankadaptor.corpus import Corpus, Record, RecordFile, Setting
from rankadaptor.errors import InputError
from rankadaptor.evaluation.heldout import measure_loss
from rankadaptor.features import ScoreTable, read_coordinates
from rankadaptor.files import read_json, write_json
from rankadaptor.measure.fine_tune import ShortFineTune
from rankadaptor.named_models import load
from rankadaptor.pipeline.data_split import split_data
from rankadaptor.pipeline.design import choose_evenly, design_allocations
from rankadaptor.pipeline.preparation import pick_compute, prepare_model
from rankadaptor.pipeline.run_folder import RunFolder, open_run
from rankadaptor.proxies import (
    ElasticAdapter,
    judge_fidelity,
    measure_reconstruction,
    measure_spectra,
    measure_variance,
)
from rankadaptor.proxies.elastic import DESCRIPTION
from rankadaptor.recipe import Recipe
from rankadaptor.runtime import describe_environment, find_commit
from rankadaptor.search import allocate_by_scores
from rankadaptor.space import Allocation, Space, Values
from rankadaptor.training import fine_tune
from rankadaptor.training.start import load_start

logger = logging.getLogger(__name__)

SEARCH_SEED, FRESH_SEED = 0, 1
EXAMPLES = 64
ELASTIC = {"elastic": False, "elastic_sandwich": True}
RESAMPLES = 2000
TINY = 1e-9
NOT_DONE = 3  # exit status

Gains = Mapping[Values, float]


class OutOfTimeError(Exception):
    """The time limit is reached; the same command continues."""


@dataclass
class Bench:
    """One setting, and everything measured in it so far.

    Attributes:
        setting: As the corpus describes it.
        space: Its space.
        short: Fine-tunes of any length, from the corpus, from the run's records, or measured now.
        folder: Where what is measured is kept.
        chosen: The allocations compared.
        full: Steps of the full length.
        check: Raises when the time limit is reached.
        records: By measure; uniform first.
    """

    setting: Setting
    space: Space
    short: ShortFineTune
    folder: RunFolder
    chosen: Sequence[Allocation]
    full: int
    check: Callable[[], None]
    records: dict[str, list[Record]] = field(default_factory=dict)

    def run(self, label: str, measure: Callable[[Allocation], Record]) -> None:
        """Measure uniform and the chosen allocations."""
        kept = self.records[label] = []
        for allocation in [self.space.reference(), *self.chosen]:
            self.check()
            kept.append(measure(allocation))

    def fine_tune_all(self, label: str, *, seed: int, steps: int) -> None:
        """Fine-tune all of them at one length."""
        self.run(label, lambda allocation: self.short(allocation, seed=seed, steps=steps))

    def gains(self, label: str) -> dict[Values, float]:
        """Return gains by values, uniform and failed runs left out."""
        reference = self.space.reference().values
        return {
            record.values: record.gain
            for record in self.records[label]
            if record.gain is not None and record.values != reference
        }

    def count_tokens(self, label: str) -> int:
        """Count the tokens trained for one measure."""
        return sum(record.tokens for record in self.records[label])


def main() -> None:
    """Measure one setting within the time limit, and write the comparison when it is complete."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--full", type=int, required=True, help="optimiser steps of the full length")
    parser.add_argument("--allocations", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    end = time.monotonic() + given.seconds

    def check() -> None:
        if time.monotonic() > end:
            raise OutOfTimeError

    config = load_run(given.file, [f"recover.steps={given.full}"])
    try:
        with open_run(Path("runs/cheaper") / config.name, config) as folder:
            bench = set_up(config, folder, count=given.allocations, check=check)
            found = compare(bench)
    except OutOfTimeError:
        logger.info("not finished; the same command continues")
        raise SystemExit(NOT_DONE) from None
    known = read_json(RESULT)["settings"] if RESULT.exists() else {}
    described = {"run_file": given.file.as_posix(), **found}
    write_json(
        RESULT,
        {
            "schema": 1,
            "commit": find_commit(),
            "environment": describe_environment(),
            "settings": {**known, config.name: described},
        },
    )


def set_up(config: RunConfig, folder: RunFolder, *, count: int, check: Callable[[], None]) -> Bench:
    """Prune as the corpus did, check that it is the same model, and take over the corpus's records."""
    compute = pick_compute(config)
    corpus = Corpus.load(config.collect.corpus)
    setting, space = corpus.setting(config.name), corpus.space(config.name)
    prepared = folder.complete("prepare", lambda: prepare_model(folder, config, compute=compute))
    check()
    if prepared["digests"]["model"] != setting.model["digest"]:
        raise InputError(
            f"{config.name}: pruning gives model {prepared['digests']['model']}, the corpus measured "
            f"{setting.model['digest']}. Collect the setting again on this machine first."
        )
    records = RecordFile(folder.records)
    for record in corpus.records(config.name):
        records.append(record)
    model, tokenizer = load(folder.pruned, compute=compute)
    train, held_out = split_data(config).load()
    short = ShortFineTune(
        model,
        tokenizer,
        data=train,
        held_out=held_out,
        recipe=Recipe(**{**setting.recipe, "steps": config.recover.steps}),
        records=records,
        setting=config.name,
        compute=compute,
    )
    designed = design_allocations(space, config.collect.allocations, seed=config.seed)
    chosen = choose_evenly(designed, count)
    return Bench(setting, space, short, folder, chosen, config.recover.steps, check)


def compare(bench: Bench) -> dict[str, Any]:
    """Run every measure and compare each with the full length under a fresh seed."""
    full = bench.full
    bench.fine_tune_all("full_fresh_seed", seed=FRESH_SEED, steps=full)
    for share in (4, 8):
        bench.fine_tune_all(f"steps_1/{share}", seed=SEARCH_SEED, steps=full // share)
    tables = measure_scores(bench)
    elastics = {}
    for label, sandwich in ELASTIC.items():
        bench.check()
        elastics[label] = train_elastic(bench, label, sandwich=sandwich)
        bench.run(label, elastics[label].measure)
    dealt = {}
    for label, table in tables.items():
        bench.check()
        dealt[label] = bench.short(allocate_by_scores(bench.space, table), seed=FRESH_SEED, steps=full)
    bench.check()
    started = bench.folder.complete("starts", lambda: compare_starts(bench, elastics["elastic"]))
    bench.fine_tune_all("full_search_seed", seed=SEARCH_SEED, steps=full)

    one = bench.records["full_fresh_seed"][0]
    target = bench.gains("full_fresh_seed")
    measures: dict[str, Any] = {}
    for label in ("full_search_seed", "steps_1/4", "steps_1/8", *ELASTIC):
        elastic = elastics.get(label)
        trained = bench.count_tokens(label) if elastic is None else elastic.tokens
        measures[label] = {
            "tokens_trained": trained,
            "full_runs": trained / one.tokens,
            **judge(bench, bench.gains(label), target),
        }
    measures["closeness"] = {
        "tokens_trained": 0,
        "full_runs": 0.0,
        **judge(bench, measure_closeness(bench), target),
    }
    for label, table in tables.items():
        scores = table.score([allocation.choices for allocation in bench.chosen]).tolist()
        measures[label] = {
            "tokens_trained": 0,
            "tokens_read": table.tokens,
            "full_runs": table.tokens / one.tokens,
            "dealt_out": {"values": list(dealt[label].values), "gain": dealt[label].gain},
            **judge(bench, {a.values: s for a, s in zip(bench.chosen, scores, strict=True)}, target),
        }
    gains = {label: bench.gains(label) for label in bench.records}
    measures["successive_halving"] = replay_halving(bench.space, gains, full=full)
    return {
        "full_steps": full,
        "tokens_of_a_full_run": one.tokens,
        "seeds": {"search": SEARCH_SEED, "fresh": FRESH_SEED},
        "losses": {
            "dense": bench.setting.dense_loss,
            "pruned": bench.setting.pruned_loss,
            "uniform": one.loss,
        },
        "allocations": len(bench.chosen),
        "better_than_uniform": sum(gain > 0 for gain in target.values()),
        "measures": measures,
        "starts": {key: value for key, value in started.items() if key != "seconds"},
        "gains": {label: [*found.values()] for label, found in gains.items()},
        "values": [list(allocation.values) for allocation in bench.chosen],
    }


def judge(bench: Bench, gains: Gains, target: Gains) -> dict[str, Any]:
    """Judge one measure against the full length, under a fresh seed and under the search's own."""
    return {
        "against_fresh_seed": judge_fidelity(gains, target).to_json(),
        "against_search_seed": judge_fidelity(gains, bench.gains("full_search_seed")).to_json(),
        "beyond_closeness": judge_beyond(gains, target, measure_closeness(bench)),
    }


def judge_beyond(gains: Gains, target: Gains, closeness: Gains) -> dict[str, float]:
    """Return the partial Spearman correlation given closeness, with a 95 % interval over allocations."""
    shared = sorted(gains.keys() & target.keys())
    table = np.asarray([[source[values] for values in shared] for source in (gains, target, closeness)])

    def correlate(columns: np.ndarray[Any, Any]) -> float:
        ranks = rankdata(columns, axis=1)
        (ab, ac), bc = np.corrcoef(ranks)[0, 1:], np.corrcoef(ranks)[1, 2]
        rest = (1 - ac**2) * (1 - bc**2)
        return float((ab - ac * bc) / np.sqrt(rest)) if rest > TINY else 0.0

    generator = np.random.default_rng(0)
    drawn = [correlate(table[:, generator.integers(len(shared), size=len(shared))]) for _ in range(RESAMPLES)]
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return {"spearman": correlate(table), "low": float(low), "high": float(high)}


def measure_closeness(bench: Bench) -> dict[Values, float]:
    """Return the negative distance of each allocation to uniform, in log options."""
    values = np.asarray([allocation.values for allocation in bench.chosen])
    distances = np.linalg.norm(read_coordinates(bench.space, values), axis=1).tolist()
    return {allocation.values: -far for allocation, far in zip(bench.chosen, distances, strict=True)}


def measure_scores(bench: Bench) -> dict[str, ScoreTable]:
    """Measure the three scores without training."""
    bench.check()
    short, space = bench.short, bench.space
    dense, _ = load(bench.setting.model["name"], compute=short.compute)
    given: dict[str, Any] = {"compute": short.compute, "examples": EXAMPLES}
    return {
        "spectra": measure_spectra(short.model, space, short.sequences, **given),
        "variance": measure_variance(short.model, space, short.sequences, **given),
        "reconstruction": measure_reconstruction(short.model, dense, space, short.sequences, **given),
    }


def train_elastic(bench: Bench, label: str, *, sandwich: bool) -> ElasticAdapter:
    """Train an elastic adapter for the full length, or load the existing one."""
    folder = bench.folder.path / label
    records = RecordFile(folder / "records.jsonl")
    if (folder / DESCRIPTION).exists():
        return ElasticAdapter.load(folder, bench.short, records=records)
    elastic = ElasticAdapter.train(
        bench.short,
        bench.space,
        steps=bench.full,
        seed=SEARCH_SEED,
        sandwich=sandwich,
        checkpoint=folder / "checkpoint",
        records=records,
    )
    elastic.save(folder)
    return elastic


def compare_starts(bench: Bench, elastic: ElasticAdapter) -> dict[str, Any]:
    """Fine-tune uniform for a quarter of the length from its slice and from scratch; nats per token."""
    short, uniform, steps = bench.short, bench.space.reference(), bench.full // 4

    def train(*, warm: bool) -> float:
        with adapt_temporarily(short.model, uniform, short.recipe, seed=FRESH_SEED) as peft_model:
            if warm:
                load_start(peft_model, elastic.slice(uniform))
            fine_tune(
                peft_model,
                short.sequences,
                recipe=short.recipe,
                steps=steps,
                seed=FRESH_SEED,
                compute=short.compute,
            )
            return measure_loss(peft_model, short.held_out, compute=short.compute).mean

    return {
        "steps": steps,
        "slice_untrained": elastic.measure(uniform).loss,
        "from_slice": train(warm=True),
        "from_scratch": train(warm=False),
    }


if __name__ == "__main__":
    main()
