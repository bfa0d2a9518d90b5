"""Find the smallest adapter that is shown not to be worse than uniform.

    python -m experiments.smaller experiments/smaller/smaller.yaml [--set trials=12]
    python -m experiments.smaller experiments/smaller/smaller.yaml --into docs/what-to-expect.md

Continues where it stopped. Rows go to the file's `results`, tables to its `document`; `--into` fills the
parts of another document from rows that are there.
"""

from __future__ import annotations

from experiments.jobs import load_job, read_command, report_changes, show_rows
from experiments.program import run_program
from experiments.smaller.config import SmallerConfig


def main() -> None:
    """Search, or fill a document."""
    given = read_command(__doc__, into=True)
    config = load_job(given.file, SmallerConfig, given.set)
    if given.into is not None:
        from experiments.smaller.page import fill_smaller

        report_changes(given.into, fill_smaller(config.results, file=given.into))
        return
    from experiments.smaller.study import find_smaller

    show_rows(find_smaller(config), config.results)


if __name__ == "__main__":
    run_program(main)
