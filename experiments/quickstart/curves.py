"""What the short rank search would choose after ever more short runs, with and without the corpus.

    python -m experiments.quickstart.curves [--workers 2]

Same pruned model, data, rate and budget as `rank_search.yaml`. Two predictors guide a search each, under two
seeds: the trained one (`meta`), and one that sees the same slots and has learned from no corpus
(`gaussian_process`). After 2, 4 and 8 short runs the allocation that each search would then hand over is
confirmed like a run's winner: paired with uniform on fresh seeds. Continues where it stopped; writes
`experiments/results/quickstart-curves.json`, a figure, and a part of `docs/what-to-expect.md`.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.compare.prepared_setting import PreparedSetting, prepare_setting
from experiments.expectations import FIGURES, PAGE
from experiments.predictors.guidance import write_guidance
from experiments.predictors.guidance_figures import plot_guidance
from experiments.program import run_program
from rankadaptor.config import load_run
from rankadaptor.corpus import Record
from rankadaptor.files import read_json, write_bytes, write_json
from rankadaptor.plots import to_png
from rankadaptor.predictor import make_predictor
from rankadaptor.predictor.storage import SHIPPED
from rankadaptor.report.markers import update_markers
from rankadaptor.results.table import write_gain
from rankadaptor.runtime import find_commit
from rankadaptor.search import Search
from rankadaptor.space import Allocation
from rankadaptor.verdict import judge_gains

logger = logging.getLogger(__name__)

RUN, FOLDER = Path("experiments/quickstart/rank_search.yaml"), Path("runs/quickstart-curves")
RESULT = Path("experiments/results/quickstart-curves.json")
FIGURE, PART = Path("experiments/results/figures/quickstart-curves.png"), "quickstart-curves"
PREDICTORS = {"meta": SHIPPED, "gaussian_process": None}
BUDGETS, SEARCHES = (2, 4, 8), (0, 1)
FIRST_SEED = 1000


def main() -> None:
    """Search, confirm, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=1, help="trials side by side; changes no result")
    parser.add_argument("--only-write", action="store_true", help="write figure and document from the result")
    given = parser.parse_args()
    if not given.only_write:
        with prepare_setting(load_run(RUN), FOLDER, workers=given.workers) as prepared:
            chosen = [
                (name, seed, choices)
                for seed in SEARCHES
                for name in PREDICTORS
                for choices in [search(prepared, name, seed=seed)]
            ]
            rows = [
                judge(prepared, name, seed, runs, allocation)
                for name, seed, choices in chosen
                for runs, allocation in choices
            ]
        write_json(RESULT, rows)
    rows = read_json(RESULT)
    write_bytes(FIGURE, to_png(plot_guidance(rows)))
    update_markers(PAGE, {PART: write_guidance(rows, figure=(FIGURES / FIGURE.name).as_posix())})


def search(prepared: PreparedSetting, name: str, *, seed: int) -> list[tuple[int, Allocation]]:
    """Search as a run does, and return its result after each number of short runs."""
    given = prepared.config.search
    predictor = make_predictor(name, pretrained=PREDICTORS[name], seed=seed)
    guided = Search(
        prepared.space,
        predictor,
        seed=seed,
        proposal=given.proposal,
        mean_until=given.mean_until,
        candidates=given.candidates,
    )

    def measure(batch: Sequence[Allocation]) -> list[Record]:
        count = len(guided.records)
        return prepared.measure(batch, label=f"{name}, search {seed}, {count}/{BUDGETS[-1]}")

    found = []
    for budget in BUDGETS:
        guided.run_batches(measure, evaluations=budget, batch=given.batch)
        found.append((budget, guided.result().best))
    return found


def judge(
    prepared: PreparedSetting, name: str, seed: int, runs: int, allocation: Allocation
) -> dict[str, Any]:
    """Pair an allocation with uniform on fresh seeds."""
    given = prepared.config.confirm
    pairs = []
    for fresh in range(FIRST_SEED, FIRST_SEED + given.seeds):
        pairs += prepared.measure([allocation], label=f"{name} after {runs}", seed=fresh)
    gains = _take_gains(pairs)
    judged = judge_gains(gains, confidence=given.confidence)
    logger.info("%s, search %d, %d runs: %s", name, seed, runs, write_gain(judged.gain))
    return {
        "predictor": name,
        "search_seed": seed,
        "short_runs": runs,
        "values": list(allocation.values),
        "gain": judged.gain,
        "gain_low": judged.low,
        "gain_high": judged.high,
        "outcome": judged.outcome,
        "gains": gains,
        "steps": prepared.steps,
        "commit": find_commit(),
    }


def _take_gains(records: Sequence[Record]) -> list[float]:
    return [record.gain for record in records if record.gain is not None]


if __name__ == "__main__":
    run_program(main)
