"""Find the smallest adapter that is not worse than uniform.

    python -m experiments.smaller experiments/smaller/smaller.yaml [--set trials=12]
    python -m experiments.smaller experiments/smaller/smaller.yaml --into docs/what-to-expect.md

Continues an interrupted job. Rows go to the file's `results`, tables to its `document`; `--into` fills the
generated parts of another document from stored rows.
"""

from __future__ import annotations

import functools

from experiments.jobs import run_job
from experiments.program import run_program
from experiments.smaller.config import SmallerConfig

main = functools.partial(
    run_job,
    __doc__,
    SmallerConfig,
    study="experiments.smaller.study:find_smaller",
    fill="experiments.smaller.page:fill_smaller",
)

if __name__ == "__main__":
    run_program(main)
