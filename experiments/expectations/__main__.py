"""Fill README's three figures of what to expect from the kept results.

python -m experiments.expectations
"""

from __future__ import annotations

from pathlib import Path

from experiments.expectations.figures import write_expectations
from experiments.jobs import report_changes
from experiments.program import run_program
from experiments.quickstart import RANK_SEARCH
from experiments.rows import read_rows
from rankadaptor.report.markers import update_markers
from rankadaptor.results import read_result

README = Path("README.md")
COMPARISON = Path("experiments/results/compare.json")


def main() -> None:
    """Fill the README."""
    rows = read_rows(COMPARISON, command="python -m experiments.compare")
    report_changes(
        README, update_markers(README, {"expectations": write_expectations(read_result(RANK_SEARCH), rows)})
    )


if __name__ == "__main__":
    run_program(main)
