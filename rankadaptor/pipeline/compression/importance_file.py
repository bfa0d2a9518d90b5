"""The file of the importances of channels and KV groups: exact, one array for each half of a block."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankadaptor.errors import InputError
from rankadaptor.files import name_storage_fault, write_bytes

Scores = list[NDArray[np.float64]]


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
