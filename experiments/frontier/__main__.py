"""Run `compress` at several sizes and put all files on the same axes.

python -m experiments.frontier experiments/frontier/*.yaml     run, or continue, and write the rows
python -m experiments.frontier --into docs/compress.md   write the page and README's table
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.frontier.figure import draw_frontier
from experiments.frontier.margins import build_margins
from experiments.frontier.page import FIGURE, write_page
from experiments.frontier.rows import Row, leave_speeds_out, list_rows, load_compression
from experiments.jobs import report_changes
from experiments.program import run_program
from experiments.rows import read_rows
from rankadaptor.errors import InputError
from rankadaptor.files import read_json, write_json
from rankadaptor.report import update_markers

RESULT = Path("experiments/results/frontier.json")
README = Path("README.md")
SEARCHES = Path("experiments/results/searches.json")
SEARCH = "python -m experiments.frontier.searches FILE.yaml"
SCORES = Path("experiments/results/slices.json")
SCORE = "python -m experiments.slices speed reuse latency"
COMMAND = "python -m experiments.frontier experiments/frontier/*.yaml"


def main() -> None:
    """Measure, or write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE.yaml", help="run files of compress")
    parser.add_argument("--collect", action="store_true", help="only read the results of finished runs")
    parser.add_argument(
        "--without-speeds",
        action="store_true",
        help="leave tokens per second out: for runs that shared the processor with others",
    )
    parser.add_argument("--into", type=Path, help="only write this document from the rows")
    given = parser.parse_args()
    if given.into is not None:
        rows = read_rows(RESULT, command=COMMAND)
        for setting in dict.fromkeys(row["setting"] for row in rows):
            own = [row for row in rows if row["setting"] == setting]
            draw_frontier(own, file=FIGURE.with_stem(f"{FIGURE.stem}-{setting.replace(':', '-')}"))
        searches = read_rows(SEARCHES, command=SEARCH) if SEARCHES.exists() else []
        scores = read_rows(SCORES, command=SCORE) if SCORES.exists() else []
        write_page(rows, searches=searches, scores=scores, file=given.into)
        sys.stdout.write(f"wrote {given.into}\n")
        report_changes(README, update_markers(README, {"margins": build_margins(rows).to_markdown()}))
        return
    if not given.files:
        raise InputError(f"no run file. Give at least one: {COMMAND}")
    rows = measure_frontier(given.files, collect=given.collect)
    if given.without_speeds:
        rows = [leave_speeds_out(row) for row in rows]
    runs = {row["run"] for row in rows}
    kept = read_json(RESULT) if RESULT.exists() else []
    rows = sorted(
        [*(row for row in kept if row["run"] not in runs), *rows],
        key=lambda row: (row["setting"], row["bytes"], row["method"]),
    )
    write_json(RESULT, rows)
    sys.stdout.write(f"wrote {RESULT}: {len(rows)} files\n")


def measure_frontier(files: Sequence[Path], *, collect: bool = False) -> list[Row]:
    """Run all run files, or read what they have left, and return the rows.

    Raises:
        InputError: If a file is no run file of `compress`, or a run has no result yet and `collect` is set.
    """
    found: dict[str, list[dict[str, object]]] = {}
    for file in files:
        config = load_compression(file)
        result = Path(config.output) / "result.json"
        if collect:
            if not result.exists():
                continue
            document = read_json(result)
        else:
            from rankadaptor.pipeline.compression import run_compression

            document = run_compression(config)
        found.setdefault(Path(config.model).name, []).append(document)
    return [row for setting, documents in found.items() for row in list_rows(documents, setting=setting)]


if __name__ == "__main__":
    run_program(main)
