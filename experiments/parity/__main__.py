"""Repeat the paper's search on middle blocks, several times at several pruning ratios.

    python -m experiments.parity experiments/parity/smollm2-135m.yaml [--set repeats=1]

Continues an interrupted job. Rows go to the file's `results`, tables to its `document`.
"""

from __future__ import annotations

import functools

from experiments.jobs import run_job
from experiments.parity.config import ParityConfig
from experiments.program import run_program

main = functools.partial(run_job, __doc__, ParityConfig, study="experiments.parity.study:check_claim")

if __name__ == "__main__":
    run_program(main)
