"""Compute the slot features of settings and store them with the corpus.

python -m experiments.slice_corpus.features experiments/slice_corpus/llama-joint.yaml ...
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

from experiments.program import run_program
from experiments.slice_corpus.__main__ import INTO, SCRATCH
from experiments.slice_corpus.description import Description
from experiments.slice_corpus.opened import Opened
from rankadaptor.features.slot_features import SlotFeatures
from rankadaptor.measure.slot_sensitivity import compute_slot_features

FOLDER = "features"
TOKENS = 2048
"""Tokens of calibration text that the features are computed on."""


def main() -> None:
    """Compute and store."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.yaml", help="settings")
    parser.add_argument("--into", type=Path, default=INTO, help=f"corpora; {INTO} by default")
    given = parser.parse_args()
    for file in given.files:
        opened = Opened(Description.read(file), SCRATCH)
        found = compute_features(opened)
        path = locate_features(given.into / opened.description.family, opened.description.name)
        found.save(path)
        sys.stdout.write(f"{path}: {found.tokens:,} tokens\n")


def compute_features(opened: Opened) -> SlotFeatures:
    """Compute the features of a setting, always in float32: bfloat16 rounds as coarsely as eight bits do."""
    given = opened.description
    live = opened.live
    if given.dtype != "float32":
        from rankadaptor.components.composition import LiveModel

        precise = Opened(dataclasses.replace(given, dtype="float32"), opened.scratch)
        live = LiveModel(precise.model, scores=live.scores, importance=live.importance)
    return compute_slot_features(
        live, opened.space, opened.calibration[: TOKENS // given.length], seed=given.seed
    )


def locate_features(folder: Path, setting: str) -> Path:
    """Return where the features of a setting are stored."""
    return folder / FOLDER / f"{setting}.safetensors"


if __name__ == "__main__":
    run_program(main)
