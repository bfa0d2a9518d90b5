"""Compare ways of choosing ranks at equal parameters and cost.

    python -m experiments.compare experiments/compare/short.yaml [--set trials=12]
    python -m experiments.compare experiments/compare/short.yaml --into docs/what-to-expect.md

Continues where it stopped. Rows go to the file's `results`, tables to its `document`; `--into` fills the
parts of another document from rows that are there.
"""

from __future__ import annotations

from experiments.compare.config import ComparisonConfig
from experiments.jobs import load_job, read_command, report_changes, show_rows
from experiments.program import run_program


def main() -> None:
    """Compare, or fill a document."""
    given = read_command(__doc__, into=True)
    config = load_job(given.file, ComparisonConfig, given.set)
    if given.into is not None:
        from experiments.compare.summary import fill_comparison

        report_changes(given.into, fill_comparison(config.results, file=given.into))
        return
    from experiments.compare.contest import compare_methods

    show_rows(compare_methods(config), config.results)


if __name__ == "__main__":
    run_program(main)
