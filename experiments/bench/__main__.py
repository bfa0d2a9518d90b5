"""Run every part of the bench, each in a fresh process, and merge their keys into one result file.

    python -m experiments.bench [--results experiments/results/engine.json]

A part that fails is named and the others go on; the exit status then says so. Each part can be run alone.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import time
from pathlib import Path

from experiments.bench.document import RESULTS

logger = logging.getLogger(__name__)
PARTS = ("speed", "workers", "plan", "memory")


def main() -> int:
    """Run the parts one after the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    failed = []
    for part in PARTS:
        started = time.monotonic()
        command = [sys.executable, "-m", f"experiments.bench.{part}", "--results", str(given.results)]
        if subprocess.run(command).returncode:
            failed.append(part)
        logger.info("%s: %.0f s", part, time.monotonic() - started)
    page = [sys.executable, "-m", "experiments.bench.page"]
    if given.results == RESULTS and subprocess.run(page).returncode:
        failed.append("page")
    if failed:
        logger.error("failed: %s; their keys in %s are old or missing", ", ".join(failed), given.results)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
