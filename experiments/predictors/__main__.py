"""Benchmark all predictors on the corpus, and write the results into documents.

    python -m experiments.predictors [--no-siblings --output experiments/results/predictors-other-models.json]
    python -m experiments.predictors --into docs/predictors.md

Rows go to the result file, averages and facts of the run to its summary, and two figures to `figures/` beside
it; the same command continues an interrupted benchmark. `--into` writes the generated parts of a document
from existing rows.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from experiments.predictors.contestants import EPOCHS, list_contestants
from experiments.predictors.figures import DEFAULT, UNTAUGHT, plot_contest, plot_start
from experiments.predictors.page import fill_contest
from experiments.program import run_program
from rankadaptor.cli.tables import show_contest
from rankadaptor.corpus import Corpus
from rankadaptor.files import read_json, write_bytes, write_json
from rankadaptor.pipeline.predictor_contest import (
    benchmark_predictors,
    compute_code_digest,
    list_judged,
    locate_summary,
)
from rankadaptor.plots import to_png
from rankadaptor.predictor.contest import DRAWS
from rankadaptor.predictor.evidence import Evidence
from rankadaptor.predictor.prediction import Predictor

RESULTS = Path("experiments/results/predictors.json")
SCORED = 100_000


def main() -> None:
    """Run the benchmark, or write a document."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, action="append", help="may be repeated; meta_data by default")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--predictor", action="append", help="only this one; may be repeated")
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="passes over the corpus for networks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--siblings", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--into", type=Path, help="only fill this document's generated parts")
    given = parser.parse_args()
    if given.into is not None:
        changed = fill_contest(given.output, file=given.into)
        sys.stdout.write(f"{given.into}: {', '.join(changed) if changed else 'nothing'} changed\n")
        return
    rows = judge_all(
        given.corpus or [Path("meta_data")],
        output=given.output,
        predictors=given.predictor,
        draws=given.draws,
        epochs=given.epochs,
        seed=given.seed,
        siblings=given.siblings,
    )
    show_contest(rows)


def judge_all(
    corpus: str | Path | Sequence[str | Path],
    *,
    output: Path,
    predictors: Iterable[str] | None = None,
    draws: int = DRAWS,
    epochs: int = EPOCHS,
    seed: int = 0,
    siblings: bool = True,
) -> list[dict[str, Any]]:
    """Benchmark all contestants, and draw the figures.

    Args:
        corpus: Folder, or folders.
        output: The file of rows; its summary and figures are written beside it.
        predictors: Names of contestants; all if None.
        draws: Random choices of online records over which each row is averaged.
        epochs: Passes over the corpus when a network is meta-trained.
        seed: Random seed.
        siblings: Whether training may use other settings of the same model.
    """
    contestants = list_contestants(epochs=epochs, seed=seed)
    rows = benchmark_predictors(
        corpus,
        output=output,
        predictors=predictors,
        draws=draws,
        seed=seed,
        siblings=siblings,
        contestants=contestants,
        facts={"epochs": epochs, "code": compute_code_digest([Path(__file__).parent])},
    )
    names = {row["predictor"] for row in rows}
    if DEFAULT in names:
        seconds = time_scoring(contestants[DEFAULT], list_judged(Corpus.load(corpus)))
        summary = locate_summary(output)
        write_json(summary, {**read_json(summary), "seconds_per_100k": round(seconds, 2)})
    figures = output.parent / "figures"
    write_bytes(figures / f"{output.stem}.png", to_png(plot_contest(rows)))
    if {DEFAULT, UNTAUGHT} <= names:
        write_bytes(figures / f"{output.stem}-start.png", to_png(plot_start(rows)))
    return rows


def time_scoring(train: Callable[[Sequence[Evidence]], Predictor], evidence: Sequence[Evidence]) -> float:
    """Return the seconds that a conditioned predictor takes for 100,000 allocations of the widest space."""
    widest = max(evidence, key=lambda each: each.space.n_slots)
    predictor = train([each for each in evidence if not each.held_out])
    predictor = predictor.update(widest.space, widest.records)
    values = widest.space.sample_choices(SCORED, 0)
    started = time.monotonic()
    predictor.predict(widest.space, values)
    return time.monotonic() - started


if __name__ == "__main__":
    run_program(main)
