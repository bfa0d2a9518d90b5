"""Recover pruned models in many ways, one training at a time, and say what each was worth.

    python -m experiments.recovery --minutes 60       the most valuable missing trainings, until time is up
    python -m experiments.recovery --list             what is done and what is missing
    python -m experiments.recovery --into docs/recovery.md     rows, page and figure from the records

Every training leaves one line in experiments/recovery/records and is never repeated; one that was cut off
continues from its checkpoint in runs/recovery. Several processes may share the work.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from pathlib import Path

from experiments.program import run_program
from experiments.recovery.agenda import count_left, list_missing
from experiments.recovery.config import Study, load_study
from experiments.recovery.records import Records, index_records
from experiments.recovery.training import Record, Training
from rankadaptor.progress import format_seconds

logger = logging.getLogger(__name__)

FILE = Path("experiments/recovery/smollm2-135m.yaml")


def main() -> None:
    """Train, list, or write rows and page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", nargs="?", type=Path, default=FILE, help=f"the study; {FILE} by default")
    parser.add_argument("--minutes", type=float, help="start no training that would last longer than this")
    parser.add_argument("--list", action="store_true", help="only list what is missing")
    parser.add_argument("--into", type=Path, help="write the rows, and this document from them")
    given = parser.parse_args()
    if given.into is not None:
        from experiments.recovery.page import write_study

        sys.stdout.write(write_study(given.into) + "\n")
        return
    study = load_study(given.file)
    records = Records(study.name)
    if given.list:
        sys.stdout.write(describe_missing(study, records.read()) + "\n")
        return
    done = run_campaign(study, records, seconds=60 * (given.minutes if given.minutes is not None else 1e9))
    sys.stdout.write(f"{done} trainings done\n{describe_missing(study, records.read())}\n")


def run_campaign(study: Study, records: Records, *, seconds: float) -> int:
    """Run missing trainings, the most valuable first, until time is up.

    A training that is expected to last longer than the time left is put off for a shorter one.

    Returns:
        The number of trainings done.
    """
    from experiments.recovery.execution import claim, run_training
    from experiments.recovery.models import Inputs

    deadline = time.monotonic() + seconds
    inputs = Inputs(study, records)
    done = 0
    refused: set[Training] = set()
    while True:
        known = records.read()
        speed = estimate_speed(study, known)
        left = deadline - time.monotonic()
        chosen = next(
            (
                each
                for each in list_missing(study, index_records(known))
                if each not in refused and estimate_seconds(study, each, speed) <= left
            ),
            None,
        )
        if chosen is None:
            return done
        with claim(study.folder / "checkpoints" / chosen.label) as mine:
            if not mine or chosen in index_records(records.read()):
                refused.add(chosen)
                continue
            logger.info(
                "%s: about %s; all that is missing: about %s",
                chosen.label,
                format_seconds(estimate_seconds(study, chosen, speed)),
                format_seconds(estimate_left(study, known)),
            )
            records.append(run_training(chosen, inputs))
        inputs.forget_checkpoint(chosen.label)
        done += 1


def estimate_speed(study: Study, records: list[Record]) -> float:
    """Return the median speed of the trainings so far, in tokens per second."""
    speeds = sorted(record.speed for record in records if record.losses is not None)
    return speeds[len(speeds) // 2] if speeds else study.speed


def estimate_seconds(study: Study, training: Training, speed: float) -> float:
    """Return the expected seconds of a training."""
    return training.tokens / speed + study.overhead


def estimate_left(study: Study, records: list[Record]) -> float:
    """Return the expected seconds of all that is missing, the tunings to come included."""
    speed = estimate_speed(study, records)
    missing = count_left(study, index_records(records))
    return sum(count * estimate_seconds(study, training, speed) for training, count in missing)


def describe_missing(study: Study, records: list[Record]) -> str:
    """Return what is left of each kind of training, and how long it takes."""
    lines = [
        f"{number} × {cell.structure}, {cell.tokens} tokens, {cell.recipe}, {cell.method}, {cell.loss_kind}"
        f"{', ' + cell.bits if cell.bits is not None else ''}"
        for cell, number in count_left(study, index_records(records))
    ]
    total = format_seconds(estimate_left(study, records))
    return "\n".join([*lines, f"{len(records)} trainings recorded; about {total} are missing on one thread"])


if __name__ == "__main__":
    run_program(main)
