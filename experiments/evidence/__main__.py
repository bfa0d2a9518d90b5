"""Write the tables and figures of docs/evidence.md from a corpus.

python -m experiments.evidence [--corpus meta_data] [--into docs/evidence.md]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from experiments.evidence.page import DOCUMENT, write_evidence
from experiments.jobs import report_changes
from experiments.program import run_program
from rankadaptor.corpus import Corpus


def main() -> None:
    """Analyse a corpus and write its tables and figures into a document."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, action="append", help="may be repeated; meta_data by default")
    parser.add_argument("--into", type=Path, default=DOCUMENT, help="created from the template if missing")
    given = parser.parse_args()
    report_changes(given.into, write_evidence(Corpus.load(given.corpus or ["meta_data"]), file=given.into))


if __name__ == "__main__":
    run_program(main)
