"""Checks that a continued run reads the same models as before."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rankadaptor.errors import CheckpointError
from rankadaptor.files import compare_sha256, compute_file_sha256, write_json
from rankadaptor.model.folder import DERIVED_FILE, read_config
from rankadaptor.model.weight_files import find_weights
from rankadaptor.named_models import find_model_folder
from rankadaptor.pipeline.run_folder import IDENTITY, RunFolder
from rankadaptor.pipeline.step_files import read_object, read_step
from rankadaptor.planning.folder_state import STEPS

logger = logging.getLogger(__name__)

COMPARED = (".safetensors", ".json", ".model", ".txt", ".jinja", ".py")
"""Suffixes of files that a model or its tokenizer depends on."""


def digest_checkpoint(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every such file of a checkpoint, by name."""
    return {
        path.name: compute_file_sha256(path)
        for path in sorted(folder.iterdir())
        if path.is_file() and path.suffix in COMPARED and not path.name.startswith(".")
    }


def check_pruned(folder: RunFolder, prepared: dict[str, Any]) -> None:
    """Check that the pruned model is the one that the step `prepare` wrote.

    Raises:
        CheckpointError: If a file is missing or has another content; the message names it.
    """
    stored = prepared.get("files")
    if stored is None:
        logger.info("%s: written by an earlier version, without digests; not compared", folder.pruned)
        return
    compare_sha256(
        folder.pruned,
        stored,
        remedy="All measurements of this run depend on it: restore the original file, or begin "
        "anew with --fresh or another output (--set output=FOLDER).",
    )


def digest_weights(source: str) -> dict[str, str]:
    """Return the SHA-256 of every weight file of a model, by name; a derived model has none."""
    folder = find_model_folder(source)
    if (folder / DERIVED_FILE).is_file():
        return {}
    names = find_weights(folder, read_config(folder)).names
    return {name: compute_file_sha256(folder / name) for name in names}


def check_dense(folder: RunFolder, source: str, *, purpose: str = "be scored beside the others") -> None:
    """Check that the dense model is the one that was pruned, before it is used.

    Args:
        folder: The run's.
        source: The dense model.
        purpose: What it is about to do, for the message.

    Raises:
        CheckpointError: If a weight file is missing or has another content; the message names it.
    """
    step = folder.path / STEPS / "prepare.json"
    stored = read_step(step, "prepare").get("dense_files") if step.exists() else None
    if stored is None:
        logger.info("%s: no digests of its weights in %s; not compared", source, folder.path)
        return
    compare_sha256(
        find_model_folder(source),
        stored,
        remedy=f"The run pruned other weights under this name, so these cannot {purpose}: restore the "
        "original file, or begin anew with --fresh or another output (--set output=FOLDER).",
    )


def claim_folder(folder: RunFolder, digests: Mapping[str, str]) -> None:
    """Store the digests of the model and the rows that the measurements of a folder belong to.

    If the step `prepare` is repeated in a folder with measurements, model and rows must be the same.

    Raises:
        CheckpointError: If they differ.
    """
    path = folder.path / IDENTITY
    if path.exists() and _holds_measurements(folder):
        then = read_object(
            path,
            keys=("model", "train", "held_out"),
            what="the digests of what this run measures",
            cost="the present model and rows are then taken as those of the measurements in this folder",
        )
        names = {"model": "the pruned model", "train": "training rows", "held_out": "held-out rows"}
        changed = [
            f"{name} {then[key]} → {digests[key]}" for key, name in names.items() if then[key] != digests[key]
        ]
        if changed:
            raise CheckpointError(
                f"{folder.path}: its measurements belong to others: {', '.join(changed)}. Restore the "
                "model and the rows, or begin anew: --fresh, or another output with "
                "--set output=FOLDER."
            )
    else:
        write_json(path, dict(digests))


def _holds_measurements(folder: RunFolder) -> bool:
    files = [folder.path / "records.jsonl", *(folder.path / "tuning").glob("*.jsonl")]
    files += (folder.path / "adapters").glob("*/outcome.json")
    return any(file.is_file() and file.stat().st_size > 0 for file in files)
