"""Fill README's part on the quickstart, tables of docs/what-to-expect.md, and the time of the default job.

python -m experiments.quickstart
"""

from __future__ import annotations

from pathlib import Path

from experiments.expectations import FIGURES, PAGE
from experiments.jobs import report_changes
from experiments.program import run_program
from experiments.quickstart import RANK_SEARCH
from experiments.quickstart.page import write_default_job, write_quickstart
from rankadaptor.files import write_bytes
from rankadaptor.plots import plot_layers, to_png
from rankadaptor.report import fill_document, update_markers
from rankadaptor.results import read_result

RESULT, README = Path("experiments/results/quickstart.json"), Path("README.md")
DEFAULT_JOB, HOW_TO = (
    Path("experiments/results/compress-smollm2-135m-75MB.json"),
    Path("docs/how-to/compress.md"),
)
FIGURE = Path("experiments/results/figures/quickstart-layers.png")


def main() -> None:
    """Fill the documents."""
    document = read_result(RESULT)
    write_bytes(FIGURE, to_png(plot_layers(document)))
    part = write_quickstart(document, figure=FIGURE.as_posix())
    report_changes(README, update_markers(README, {"quickstart": part}))
    report_changes(
        HOW_TO, update_markers(HOW_TO, {"default-job": write_default_job(read_result(DEFAULT_JOB))})
    )
    report_changes(PAGE, fill_document(RANK_SEARCH, file=PAGE, figures=FIGURES))


if __name__ == "__main__":
    run_program(main)
