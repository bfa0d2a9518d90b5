"""Fill the figure and the tables of docs/what-to-expect.md from the kept result of the short rank search.

python -m experiments.quickstart
"""

from __future__ import annotations

from experiments.expectations import FIGURES, PAGE
from experiments.jobs import report_changes
from experiments.program import run_program
from experiments.quickstart import RANK_SEARCH
from rankadaptor.report import fill_document


def main() -> None:
    """Fill the document."""
    report_changes(PAGE, fill_document(RANK_SEARCH, file=PAGE, figures=FIGURES))


if __name__ == "__main__":
    run_program(main)
