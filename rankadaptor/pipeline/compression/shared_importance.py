"""Importance of channels and heads, kept beside scores that several runs share.

Importances are sums of floating-point numbers, whose last digits differ between processors and numbers of
threads. Where two channels are almost equally important, their order then differs too, and with it what an
allocation is. Runs that share a file of scores therefore share the importances that it was made with.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankadaptor.errors import InputError
from rankadaptor.files import compute_digest, name_storage_fault, write_bytes
from rankadaptor.pipeline.compression.setting import Setting
from rankadaptor.pipeline.compression.texts import CALIBRATION

logger = logging.getLogger(__name__)

Scores = list[NDArray[np.float64]]


def find_importance(setting: Setting) -> Scores:
    """Return the importances of the run: those beside its shared scores, or computed and kept there.

    Raises:
        InputError: If the file beside the scores cannot be read.
        StorageError: If it cannot be written.
    """
    shared = setting.config.search.records
    if shared is None:
        return compute_importance(setting)
    path = name_shared_file(setting, Path(shared))
    if path.exists():
        logger.info("importance of channels and heads: read from %s", path)
        return read_importance(path)
    scores = compute_importance(setting)
    write_importance(path, scores)
    return scores


def compute_importance(setting: Setting) -> Scores:
    """Compute the importances of all channels and KV groups on the calibration text."""
    from rankadaptor.pruning.groups import find_groups
    from rankadaptor.pruning.importance import score_groups

    setting.compute.apply()
    return list(
        score_groups(
            setting.model,
            find_groups(setting.model),
            importance=setting.config.choices.importance,
            sequences=setting.make_calibration(),
            seed=setting.config.seed,
        )
    )


def name_shared_file(setting: Setting, records: Path) -> Path:
    """Return the file beside shared scores; its name tells model, text and importance."""
    from rankadaptor.model import digest_model
    from rankadaptor.training.checkpoint import digest_sequences

    digest = compute_digest(
        {
            "model": digest_model(setting.model),
            "text": digest_sequences(setting.texts[CALIBRATION]),
            "importance": setting.config.choices.importance,
            "seed": setting.config.seed,
        }
    )
    return records.with_name(f"{records.stem}-importance-{digest}.safetensors")


def write_importance(path: Path, scores: Sequence[Any]) -> None:
    """Write importances, one array for each half of a block, exactly."""
    from safetensors.numpy import save

    with name_storage_fault(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, save({f"{number:05d}": score for number, score in enumerate(scores)}))


def read_importance(path: Path) -> Scores:
    """Read what `write_importance` wrote.

    Raises:
        InputError: If it cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path}: the importance of channels and heads cannot be read ({error}). Bring the file back; "
            "without it the scores beside it mean other allocations. Or delete both and run again."
        ) from error
    return [stored[name] for name in sorted(stored)]
