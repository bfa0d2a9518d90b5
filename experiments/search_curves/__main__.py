"""Search curves: regret against the best known allocation, over evaluations and tokens.

python -m experiments.search_curves                                    write the rows from the records
python -m experiments.search_curves --into docs/search-curves.md       write the page from the rows
python -m experiments.search_curves llama-joint --band middle          measure: run the searches not run yet
python -m experiments.search_curves llama-joint --band middle --reference 7000 300     and a reference search
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from experiments.performance_model.cases import read_cases
from experiments.program import run_program
from experiments.rows import read_rows
from experiments.search_curves.curves import list_rows
from experiments.search_curves.measuring import measure_setting, search_reference
from experiments.search_curves.page import write_page
from experiments.search_curves.traces import read_traces
from experiments.slice_corpus.__main__ import INTO as CORPUS
from experiments.slice_corpus.description import Description
from experiments.slice_corpus.opened import Opened
from rankadaptor.files import write_json

COMMAND = "python -m experiments.search_curves"
RECORDS = Path("experiments/search_curves/records")
SCRATCH = Path("runs/search_curves")
RESULT = Path("experiments/results/search_curves.json")
SETTINGS = Path("experiments/slice_corpus")


def main() -> None:
    """Measure, or write rows or page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("settings", nargs="*", metavar="SETTING", help="settings to run the searches of")
    parser.add_argument("--band", action="append", default=[], help="bands to search; may be repeated")
    parser.add_argument("--seeds", type=int, default=2, help="searches of each kind; 2 by default")
    parser.add_argument("--reference", type=int, nargs=2, metavar=("FEW", "ALL"), help="evaluations")
    parser.add_argument("--corpus", type=Path, default=CORPUS, help=f"corpora; {CORPUS} by default")
    parser.add_argument("--records", type=Path, default=RECORDS, help=f"searches; {RECORDS} by default")
    parser.add_argument("--output", type=Path, default=RESULT, help=f"rows; {RESULT} by default")
    parser.add_argument("--into", type=Path, help="only write this document from the rows")
    given = parser.parse_args()
    if given.into is not None:
        write_page(read_rows(given.output, command=COMMAND), given.into)
        sys.stdout.write(f"wrote {given.into}\n")
        return
    cases = read_cases(given.corpus)
    for name in given.settings:
        opened = Opened(Description.read(SETTINGS / f"{name}.yaml"), SCRATCH)
        measure_setting(opened, cases, bands=given.band, seeds=range(given.seeds), folder=given.records)
        for band in given.band if given.reference else []:
            (case,) = (each for each in cases if each.name == name)
            few, whole = given.reference
            search_reference(opened, case, band=band, evaluations=(few, whole), folder=given.records)
    if not given.settings:
        rows = list_rows(read_traces(given.records), cases)
        write_json(given.output, rows)
        sys.stdout.write(f"wrote {given.output}: {len(rows)} rows\n")


if __name__ == "__main__":
    run_program(main)
