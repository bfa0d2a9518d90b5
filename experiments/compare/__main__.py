"""Compare methods of choosing ranks at equal parameters and cost.

    python -m experiments.compare experiments/compare/short.yaml [--set trials=12]
    python -m experiments.compare experiments/compare/short.yaml --into docs/what-to-expect.md

Continues an interrupted job. Rows go to the file's `results`, tables to its `document`; `--into` fills the
generated parts of another document from stored rows.
"""

from __future__ import annotations

import functools

from experiments.compare.config import ComparisonConfig
from experiments.jobs import run_job
from experiments.program import run_program

main = functools.partial(
    run_job,
    __doc__,
    ComparisonConfig,
    study="experiments.compare.contest:compare_methods",
    fill="experiments.compare.summary:fill_comparison",
)

if __name__ == "__main__":
    run_program(main)
