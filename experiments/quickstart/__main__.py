"""Fill README's figure and the tables of docs/what-to-expect.md from the quickstart's kept result.

python -m experiments.quickstart
"""

from __future__ import annotations

import os
from pathlib import Path

from experiments.expectations import PAGE
from experiments.jobs import report_changes
from experiments.program import run_program
from rankadaptor.report import fill_document

RESULT, README = Path("experiments/results/quickstart.json"), Path("README.md")


def main() -> None:
    """Fill both documents."""
    for file in (README, PAGE):
        figures = os.path.relpath(RESULT.parent / "figures", file.parent)
        report_changes(file, fill_document(RESULT, file=file, figures=figures))


if __name__ == "__main__":
    run_program(main)
