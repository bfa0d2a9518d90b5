"""Trials per second of two worker processes, beside one.

    python -m experiments.bench.workers [--rounds 3]

The pool of a real campaign measures short trials of the kit's model, in turn with one worker and with two,
each worker a process of its own with one thread. Loading is not counted: every worker does a trial before the
clock starts. Two workers need two free cores.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from experiments.bench.document import RESULTS, merge_results, summarise
from experiments.bench.sharing import probe_sharing
from rankadaptor.components.adapter import RankSpace
from rankadaptor.config.loading import build_run
from rankadaptor.kit import ensure_model
from rankadaptor.named_models import load
from rankadaptor.pipeline.data_split import split_data
from rankadaptor.pipeline.execution import Execution
from rankadaptor.pipeline.trial_source import TrialSource
from rankadaptor.pipeline.trials import Job, TrialPool
from rankadaptor.recipe import Recipe
from rankadaptor.runtime import choose_compute

logger = logging.getLogger(__name__)
TARGET = 1.8
STEPS = 2
TRIALS_PER_WORKER = 6  # the wait for the slower worker at the end is a small part, as in a campaign


def build_source() -> TrialSource:
    """Describe short trials of the kit's model, without records."""
    compute = choose_compute()
    model, _ = load("kit:smollm2-135m", compute=compute)
    config = build_run({"name": "bench", "data": {"train_rows": 200, "held_out_rows": 8}})
    return TrialSource(
        model=ensure_model("smollm2-135m"),
        space=RankSpace.from_model(model, like_uniform=8, slots="half_block"),
        recipe=Recipe(steps=100),
        split=split_data(config),
        steps=STEPS,
        setting="bench",
        records=Path("unused.jsonl"),
        compute=compute,
        execution=Execution(trial_timeout=600.0),  # with a limit, one worker is a process too
    )


def measure_shared_weights(shared: TrialSource) -> dict[str, Any]:
    """Say where two workers side by side hold the frozen weights, in bytes."""
    found = probe_sharing(shared, workers=2)
    return {"weights_shared": [dataclasses.asdict(each) for each in found]}


def measure_workers(shared: TrialSource, *, rounds: int) -> dict[str, Any]:
    """Measure both pools in turn; each round gives one ratio."""
    space = shared.space
    rates: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        pools = {}
        for workers in rates:
            source = dataclasses.replace(shared, records=Path(folder) / f"{workers}.jsonl")
            pools[workers] = TrialPool(source, workers=workers)
        with pools[1], pools[2]:
            seed = 0
            for number in range(-1, rounds):
                for workers in (1, 2) if number % 2 else (2, 1):
                    trials = workers * (TRIALS_PER_WORKER if number >= 0 else 1)
                    # Trials of uniform are their own reference, so none waits for another.
                    jobs = [Job(space.reference(), seed + index, STEPS) for index in range(trials)]
                    seed += trials
                    started = time.perf_counter()
                    pools[workers].measure_all(jobs, label="trials")
                    if number >= 0:
                        rates[workers].append(trials / (time.perf_counter() - started))
                if number >= 0:
                    logger.info("%.4f trials/s, two workers %.4f", rates[1][-1], rates[2][-1])
    ratios = [two / one for one, two in zip(rates[1], rates[2], strict=True)]
    return {
        **summarise("two_workers_ratio", ratios),
        "two_workers": {
            "model": "kit:smollm2-135m",
            "target": TARGET,
            "cores": os.cpu_count(),
            "steps_of_a_trial": STEPS,
            "trials_per_second": {
                name: round(statistics.median(rates[workers]), 4)
                for name, workers in (("one", 1), ("two", 2))
            },
            "rounds": [
                {"one": round(one, 5), "two": round(two, 5)}
                for one, two in zip(rates[1], rates[2], strict=True)
            ],
        },
    }


def main() -> None:
    """Measure and merge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sharing", action="store_true", help="only say where workers hold the weights")
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logger.setLevel(logging.INFO)
    shared = build_source()
    merge_results("weights_shared", measure_shared_weights(shared), path=given.results)
    if given.sharing:
        return
    found = measure_workers(shared, rounds=given.rounds)
    merge_results("workers", found, path=given.results)
    logger.info("two_workers_ratio %s (target %s)", found["two_workers_ratio"], TARGET)


if __name__ == "__main__":
    main()
