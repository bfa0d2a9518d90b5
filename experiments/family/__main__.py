"""Collect what finished runs of the presets came to, and write the page of claims and verdicts.

rankadaptor init lonas.yaml --preset lonas; rankadaptor run lonas.yaml    a run, in runs/lonas
python -m experiments.family runs/lonas runs/shears                       collect their rows
python -m experiments.family --into docs/family.md                        write the page
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from experiments.family.page import write_page
from experiments.family.rows import list_rows
from experiments.program import run_program
from experiments.rows import read_rows
from rankadaptor.errors import InputError
from rankadaptor.files import read_json, write_json

RESULT = Path("experiments/results/family.json")
COMMAND = "python -m experiments.family runs/NAME"


def main() -> None:
    """Collect rows, or write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="folders of finished runs")
    parser.add_argument("--into", type=Path, help="only write this document from the rows")
    given = parser.parse_args()
    if given.into is not None:
        write_page(read_rows(RESULT, command=COMMAND), file=given.into)
        sys.stdout.write(f"wrote {given.into}\n")
        return
    if not given.folders:
        raise InputError(f"no folder of a run. Give at least one: {COMMAND}")
    rows = collect_rows(given.folders, kept=read_json(RESULT) if RESULT.exists() else [])
    write_json(RESULT, rows)
    sys.stdout.write(f"wrote {RESULT}: {len(rows)} models\n")


def collect_rows(folders: list[Path], *, kept: list[dict[str, object]]) -> list[dict[str, object]]:
    """Return the rows of finished runs beside those that were kept of other runs.

    Raises:
        InputError: If a folder holds no finished run of a preset.
    """
    found = [row for folder in folders for row in list_rows(read_json(folder / "result.json"))]
    runs = {row["run"] for row in found}
    rows = [*(row for row in kept if row["run"] not in runs), *found]
    return sorted(
        rows, key=lambda row: (str(row["preset"]), str(row["setting"]), not row["ours"], str(row["model"]))
    )


if __name__ == "__main__":
    run_program(main)
