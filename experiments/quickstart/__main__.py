"""Fill README's tables and figure of the quickstart from its kept result.

python -m experiments.quickstart
"""

from __future__ import annotations

from pathlib import Path

from experiments.jobs import report_changes
from experiments.program import run_program
from rankadaptor.report import fill_document

RESULT, README = Path("experiments/results/quickstart.json"), Path("README.md")


def main() -> None:
    """Fill the README."""
    report_changes(README, fill_document(RESULT, file=README, figures=RESULT.parent / "figures"))


if __name__ == "__main__":
    run_program(main)
