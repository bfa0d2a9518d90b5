"""Repeat the paper's search on middle blocks, several times at several pruning ratios.

    python -m experiments.parity experiments/parity/smollm2-135m.yaml [--set repeats=1]

Continues where it stopped. Rows go to the file's `results`, tables to its `document`.
"""

from __future__ import annotations

from experiments.jobs import load_job, read_command, show_rows
from experiments.parity.config import ParityConfig
from experiments.program import run_program


def main() -> None:
    """Test the claim."""
    given = read_command(__doc__)
    config = load_job(given.file, ParityConfig, given.set)
    from experiments.parity.study import check_claim

    show_rows(check_claim(config), config.results)


if __name__ == "__main__":
    run_program(main)
