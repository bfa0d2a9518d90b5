"""The pruned model in a run's folder: what was written is what is read when the run continues."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from rankadaptor.files import compare_sha256, compute_file_sha256
from rankadaptor.pipeline.run_folder import RunFolder

logger = logging.getLogger(__name__)

COMPARED = (".safetensors", ".json", ".model", ".txt", ".jinja", ".py")
"""Ends of the names of files that decide what a model or its tokenizer computes."""


def digest_checkpoint(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a checkpoint that matters, by name."""
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
        remedy="Everything measured in this run rests on it: put back the file that was written, or begin "
        "anew with --fresh or another output (--set output=FOLDER).",
    )
