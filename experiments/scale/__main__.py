"""Fill the tables of docs/scale.md from the cost model and the measurements that check it.

python -m experiments.scale
"""

from __future__ import annotations

from pathlib import Path

from experiments.jobs import report_changes
from experiments.program import run_program
from experiments.scale.tables import render_scale
from rankadaptor.files import read_json
from rankadaptor.report.markers import update_markers

RESULTS, DOCUMENT = Path("experiments/results/scale.json"), Path("docs/scale.md")


def main() -> None:
    """Fill the page."""
    report_changes(DOCUMENT, update_markers(DOCUMENT, render_scale(read_json(RESULTS))))


if __name__ == "__main__":
    run_program(main)
