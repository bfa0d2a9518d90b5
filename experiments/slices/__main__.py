"""Measure what slice scores cost and how exactly the latency of files is planned.

python -m experiments.slices speed reuse latency     measure some or all parts; the others are kept
python -m experiments.frontier --into docs/compress.md     write the page, which shows them
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import rankadaptor as ra
from experiments.program import run_program
from experiments.slices.latency import measure_latency_errors
from experiments.slices.scores import measure_reuse, measure_speed
from rankadaptor.data.text_sets import build_text_sets
from rankadaptor.files import read_json, write_json
from rankadaptor.runtime import choose_compute

RESULT = Path("experiments/results/slices.json")
PARTS = ("speed", "reuse", "latency")
LENGTH = 128


def main() -> None:
    """Measure and write the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="+", choices=PARTS, help="what to measure")
    parser.add_argument("--model", default="kit:smollm2-135m", help="a model's name or folder")
    parser.add_argument("--text", default="kit:c4", help="text to score on")
    parser.add_argument("--sequences", type=int, default=8, help=f"sequences of {LENGTH} tokens")
    parser.add_argument("--rounds", type=int, default=3, help="times that speeds are measured, in turn")
    parser.add_argument("--into", type=Path, default=RESULT, help=f"result file; {RESULT} by default")
    given = parser.parse_args()
    compute = choose_compute(device="cpu", dtype="float32", threads=1)
    model, tokenizer = ra.load(given.model, compute=compute)
    rows = []
    if {"speed", "reuse"} & set(given.parts):
        tokens = {"search": given.sequences * LENGTH, "judging": LENGTH, "calibration": LENGTH}
        texts = build_text_sets(
            tokenizer, sources=(given.text,), length=LENGTH, tokens={**tokens, "training": LENGTH}
        )
        sequences = texts.search.sequences
        if "speed" in given.parts:
            rows.append(measure_speed(model, tokenizer, sequences, compute=compute, rounds=given.rounds))
        if "reuse" in given.parts:
            rows.append(measure_reuse(model, tokenizer, sequences, compute=compute))
    if "latency" in given.parts:
        rows += measure_latency_errors(model, tokenizer, rounds=given.rounds)
    rows = [{"setting": given.model, **row} for row in rows]
    kept = read_json(given.into) if given.into.exists() else []
    new = {(row["setting"], row["part"]) for row in rows}
    write_json(given.into, [*(row for row in kept if (row["setting"], row["part"]) not in new), *rows])
    sys.stdout.write(f"wrote {given.into}: {len(rows)} rows\n")


if __name__ == "__main__":
    run_program(main)
