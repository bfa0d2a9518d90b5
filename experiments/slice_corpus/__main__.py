"""Collect records of settings: a sweep, random allocations, searches, and the optimum of each band.

python -m experiments.slice_corpus experiments/slice_corpus/llama-joint.yaml ...

Every score is on disk before the next, and the same command continues an interrupted collection. Scores
are collected below `--scratch`; a finished setting is written to a folder of its family below `--into`.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from experiments.program import run_program
from experiments.slice_corpus import collection
from experiments.slice_corpus.description import Description
from experiments.slice_corpus.opened import Opened

INTO = Path("meta_data/slices")
SCRATCH = Path("runs/slice_corpus")
STEPS = ("sweep", "draw", "search", "optimise", "keep")


def main() -> None:
    """Collect."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.yaml", help="settings")
    parser.add_argument("--until", choices=STEPS, default="keep", help="last step; all by default")
    parser.add_argument("--into", type=Path, default=INTO, help=f"corpora; {INTO} by default")
    parser.add_argument(
        "--scratch", type=Path, default=SCRATCH, help=f"unfinished ones; {SCRATCH} by default"
    )
    given = parser.parse_args()
    for file in given.files:
        opened = Opened(Description.read(file), given.scratch)
        started = time.monotonic()
        for step in STEPS[: STEPS.index(given.until) + 1]:
            if step == "sweep":
                collection.sweep(opened)
            elif step == "keep":
                collection.keep(opened, given.into / opened.description.family)
            else:
                for band in opened.description.bands:
                    getattr(collection, step)(opened, band)
        seconds = time.monotonic() - started
        sys.stdout.write(f"{opened.description.name}: {len(opened.records)} scores, {seconds:.0f} s now\n")


if __name__ == "__main__":
    run_program(main)
