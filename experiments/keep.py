"""Keep a finished run's result among those that documents quote.

    python -m experiments.keep runs/quickstart

Writes `experiments/results/<name of the run>.json`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from experiments.program import run_program
from rankadaptor.files import write_json
from rankadaptor.results import read_result

RESULTS = Path("experiments/results")


def main() -> None:
    """Keep one result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="the run's output folder, or its result file")
    sys.stdout.write(f"wrote {keep_result(parser.parse_args().run)}\n")


def keep_result(path: str | Path, *, results: str | Path = RESULTS) -> Path:
    """Keep a finished run's result as `<results>/<name of the run>.json`.

    Args:
        path: The run's output folder, or its result file.
        results: Folder of the results that are kept.

    Returns:
        The file written.

    Raises:
        InputError: If there is no result, or it is of another schema.
        StorageError: If it cannot be written.
    """
    document = read_result(path)
    target = Path(results) / f"{document['run']['name']}.json"
    write_json(target, document)
    return target


if __name__ == "__main__":
    run_program(main)
