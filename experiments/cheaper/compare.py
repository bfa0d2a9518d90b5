"""Compare cheap measures of allocations with full-length fine-tunes, inside settings of the corpus.

    python experiments/cheaper/compare.py experiments/collect/llama-global70-r2-linear.yaml

Continues where it stopped; `--seconds` stops it in good order before a limit. Everything measured goes to
`runs/cheaper/<setting>`, and what it comes to, for all settings given so far, to
`experiments/results/cheaper.json`.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rankadaptor.config import load_run
from rankadaptor.corpus import Record, RecordFile
from rankadaptor.evaluation.heldout import measure_loss
from rankadaptor.files import read_json, write_json
from rankadaptor.models import load
from rankadaptor.pipeline.design import choose_evenly, design_allocations
from rankadaptor.pipeline.preparation import load_space, pick_compute, prepare_model
from rankadaptor.pipeline.run_folder import open_run
from rankadaptor.pipeline.trials import build_measure
from rankadaptor.pipeline.tuning import tune_setting
from rankadaptor.proxies import (
    ElasticAdapter,
    judge_fidelity,
    measure_reconstruction,
    measure_spectra,
    measure_variance,
)
from rankadaptor.proxies.elastic import DESCRIPTION
from rankadaptor.recovery import adapt_temporarily, fine_tune
from rankadaptor.recovery.start import load_start
from rankadaptor.runtime import describe_environment, find_commit
from rankadaptor.search import allocate_by_scores
from rankadaptor.space import Allocation, Space

logger = logging.getLogger(__name__)
RESULT = Path(__file__).parents[1] / "results" / "cheaper.json"
ALLOCATIONS = 20
SHORTER = (8, 4)  # shares of the full length: an eighth, a quarter
SEARCH_SEED, FRESH_SEED = 0, 1

Values = tuple[int, ...]
Gains = Mapping[Values, float]


class OutOfTimeError(Exception):
    """The time given is used up; the same command continues."""


def main() -> None:
    """Measure one setting as far as the time reaches and, once it is whole, write the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    end = time.monotonic() + given.seconds

    def check() -> None:
        if time.monotonic() > end:
            raise OutOfTimeError

    try:
        name, found = compare_setting(given.file, check)
    except OutOfTimeError:
        logger.info("not finished; the same command continues")
        raise SystemExit(3) from None
    known = read_json(RESULT)["settings"] if RESULT.exists() else {}
    write_json(
        RESULT,
        {
            "schema": 1,
            "commit": find_commit(),
            "environment": describe_environment(),
            "settings": {**known, name: found},
        },
    )


def compare_setting(file: Path, check: Callable[[], None]) -> tuple[str, dict[str, Any]]:
    """Measure everything of one setting and compare it."""
    config = load_run(file)
    compute = pick_compute(config)
    with open_run(Path("runs/cheaper") / config.name, config) as folder:
        prepared = folder.complete("prepare", lambda: prepare_model(folder, config, compute=compute))
        check()
        space = load_space(folder, config)
        source, _ = tune_setting(folder, config, space, setting=config.name, compute=compute)
        check()
        short = build_measure(source)
        full = config.recover.steps
        chosen = choose_evenly(
            design_allocations(space, config.collect.allocations, seed=config.seed), ALLOCATIONS
        )
        records: dict[str, list[Record]] = {}

        def run(label: str, *, seed: int, steps: int) -> None:
            records[label] = []
            for allocation in [space.uniform(), *chosen]:
                check()
                records[label].append(short(allocation, seed=seed, steps=steps))

        run("full_fresh_seed", seed=FRESH_SEED, steps=full)
        for divisor in SHORTER:
            run(f"steps_1/{divisor}", seed=SEARCH_SEED, steps=full // divisor)
        elastic = {}
        for label, sandwich in (("elastic", False), ("elastic_sandwich", True)):
            check()
            elastic[label] = train_elastic(folder.path / label, short, space, steps=full, sandwich=sandwich)
            for allocation in [space.uniform(), *chosen]:
                check()
                records.setdefault(label, []).append(elastic[label].measure(allocation))
        check()
        dense, _ = load(config.model, compute=compute)
        common = {"compute": compute, "examples": 64}
        tables = {
            "spectra": measure_spectra(short.model, space, short.sequences, **common),
            "variance": measure_variance(short.model, space, short.sequences, **common),
            "reconstruction": measure_reconstruction(short.model, dense, space, short.sequences, **common),
        }
        dealt = {
            label: short(allocate_by_scores(space, table), seed=FRESH_SEED, steps=full)
            for label, table in tables.items()
        }
        check()
        warm = folder.complete(
            "warm_start", lambda: compare_starts(short, elastic["elastic"], space, steps=full // 4)
        )
        run("full_search_seed", seed=SEARCH_SEED, steps=full)

    uniform = space.uniform().values
    target = read_gains(records["full_fresh_seed"], uniform)
    same = read_gains(records["full_search_seed"], uniform)
    one_full = records["full_fresh_seed"][0].tokens
    measures: dict[str, Any] = {}
    for label in ("full_search_seed", "steps_1/4", "steps_1/8", "elastic", "elastic_sandwich"):
        gains = read_gains(records[label], uniform)
        trained = sum(record.tokens for record in records[label])
        if label in elastic:
            trained = elastic[label].tokens
        measures[label] = describe(gains, target, same if label != "full_search_seed" else None)
        measures[label] |= {"tokens_trained": trained, "share_of_one_full_run": trained / one_full}
        measures[label]["seconds"] = sum(record.seconds for record in records[label]) + (
            elastic[label].seconds if label in elastic else 0.0
        )
    for label, table in tables.items():
        scores = table.score([allocation.values for allocation in chosen]).tolist()
        by_values = {allocation.values: score for allocation, score in zip(chosen, scores, strict=True)}
        measures[label] = describe(by_values, target, same)
        measures[label] |= {
            "tokens_trained": 0,
            "tokens_read": table.tokens,
            "share_of_one_full_run": table.tokens / one_full,
            "dealt_out": {"values": list(dealt[label].values), "gain_at_full_length": dealt[label].gain},
        }
    return config.name, {
        "run_file": file.name,
        "full_steps": full,
        "tokens_of_one_full_run": one_full,
        "allocations": len(chosen),
        "seeds": {"search": SEARCH_SEED, "fresh": FRESH_SEED},
        "losses": {**prepared["losses"], "uniform_full": records["full_fresh_seed"][0].loss},
        "learning_rate": source.recipe.learning_rate,
        "scaling_exponent": source.recipe.scaling_exponent,
        "full_length_gains": {
            "mean": sum(target.values()) / len(target),
            "best": max(target.values()),
            "worst": min(target.values()),
            "better_than_uniform": sum(gain > 0 for gain in target.values()),
        },
        "measures": measures,
        "warm_start": {key: value for key, value in warm.items() if key != "seconds"},
        "gains": {
            "values": [list(allocation.values) for allocation in chosen],
            **{
                label: [read_gains(found, uniform).get(allocation.values) for allocation in chosen]
                for label, found in records.items()
            },
        },
    }


def train_elastic(folder: Path, short: Any, space: Space, *, steps: int, sandwich: bool) -> ElasticAdapter:
    """Train a super-adapter, or read the one that is there."""
    records = RecordFile(folder / "records.jsonl")
    if (folder / DESCRIPTION).exists():
        return ElasticAdapter.load(folder, short, records=records)
    elastic = ElasticAdapter.train(
        short,
        space,
        steps=steps,
        seed=SEARCH_SEED,
        sandwich=sandwich,
        checkpoint=folder / "checkpoint",
        records=records,
    )
    elastic.save(folder)
    return elastic


def compare_starts(short: Any, elastic: ElasticAdapter, space: Space, *, steps: int) -> dict[str, Any]:
    """Fine-tune uniform from its slice and from scratch under a fresh seed; losses in nats per token."""
    uniform = space.uniform()

    def train(allocation: Allocation, *, warm: bool) -> float:
        with adapt_temporarily(short.model, allocation, short.recipe, seed=FRESH_SEED) as peft_model:
            if warm:
                load_start(peft_model, elastic.slice(allocation))
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
        "allocation": "uniform",
        "slice_itself": elastic.measure(uniform).loss,
        "from_slice": train(uniform, warm=True),
        "from_scratch": train(uniform, warm=False),
    }


def read_gains(records: list[Record], uniform: Values) -> dict[Values, float]:
    """Return gains by values, uniform and failed runs left out."""
    return {
        record.values: record.gain
        for record in records
        if record.gain is not None and record.values != uniform
    }


def describe(gains: Gains, target: Gains, same: Gains | None) -> dict[str, Any]:
    """Judge one measure against full-length gains under a fresh seed and, if given, under its own."""
    found = {"against_fresh_seed": judge_fidelity(gains, target).to_json()}
    if same is not None:
        found["against_own_seed"] = judge_fidelity(gains, same).to_json()
    return found


if __name__ == "__main__":
    main()
