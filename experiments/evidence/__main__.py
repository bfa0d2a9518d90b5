"""Report what a corpus says: tables and figures of docs/evidence.md.

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
    """Analyse a corpus and fill a document with its tables and figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, action="append", help="may be repeated; meta_data by default")
    parser.add_argument("--into", type=Path, default=DOCUMENT, help="made from the template if not there")
    given = parser.parse_args()
    report_changes(given.into, write_evidence(Corpus.load(given.corpus or ["meta_data"]), file=given.into))


if __name__ == "__main__":
    run_program(main)
