"""Benchmark performance models on the corpus of slices, from committed records alone.

python -m experiments.performance_model                                 judge, and write the rows
python -m experiments.performance_model --into docs/performance-model.md   write the page from the rows

Each setting is predicted by a model that was trained on the others: on all others (`held_out: setting`), and
on those of other families (`held_out: family`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.performance_model.cases import Case, read_cases
from experiments.performance_model.contestants import TRAINED, list_contestants, train
from experiments.performance_model.judging import Row, judge_band
from experiments.performance_model.page import write_page
from experiments.program import run_program
from experiments.rows import read_rows
from experiments.slice_corpus.__main__ import INTO as CORPUS
from rankadaptor.files import write_json
from rankadaptor.progress import Progress

COMMAND = "python -m experiments.performance_model"
RESULT = Path("experiments/results/performance_model.json")
SETTING, FAMILY, NOTHING = "setting", "family", "nothing"


def main() -> None:
    """Judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, default=CORPUS, help=f"corpora; {CORPUS} by default")
    parser.add_argument("--output", type=Path, default=RESULT, help=f"rows; {RESULT} by default")
    parser.add_argument("--predictor", action="append", help="only this one; may be repeated")
    parser.add_argument("--setting", action="append", help="only this one, beside the rows that are there")
    parser.add_argument("--into", type=Path, help="only write this document from the rows")
    given = parser.parse_args()
    if given.into is not None:
        write_page(read_rows(given.output, command=COMMAND), given.into)
        sys.stdout.write(f"wrote {given.into}\n")
        return
    rows = judge_all(read_cases(given.corpus), names=given.predictor, settings=given.setting)
    if given.setting is not None and given.output.exists():
        kept = read_rows(given.output, command=COMMAND)
        rows += [row for row in kept if row["setting"] not in given.setting]
    write_json(given.output, sorted(rows, key=lambda row: row["setting"]))
    sys.stdout.write(f"wrote {given.output}: {len(rows)} rows\n")


def judge_all(
    cases: Sequence[Case], *, names: Sequence[str] | None = None, settings: Sequence[str] | None = None
) -> list[Row]:
    """Judge all predictors on all settings, or those named.

    Predictors that are not trained on other settings have one row for both ways of leaving out.
    """
    rows: list[Row] = []
    makers = {name: make for name, make in list_contestants().items() if names is None or name in names}
    judged_cases = [case for case in cases if settings is None or case.name in settings]
    with Progress("settings", len(judged_cases)) as progress:
        for case in judged_cases:
            others = [each for each in cases if each is not case]
            foreign = [each for each in others if each.family != case.family]
            trained = {left: train(part) for left, part in ((SETTING, others), (FAMILY, foreign)) if part}
            for name, make in makers.items():
                ways = trained if name == TRAINED else {NOTHING: next(iter(trained.values()))}
                for left, model in ways.items():
                    predictor = make(case, model)
                    judged = (judge_band(case, band, predictor, name=name) for band in case.bands)
                    rows += [{**row, "held_out": left} for part in judged for row in part]
            progress.advance(1)
    return rows


if __name__ == "__main__":
    run_program(main)
