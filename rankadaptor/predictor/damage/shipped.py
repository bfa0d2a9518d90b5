"""The model of damage that is part of the package, meta-trained on this project's records of slices."""

from __future__ import annotations

from pathlib import Path

from rankadaptor.errors import CheckpointError, InputError
from rankadaptor.files import read_json, write_json
from rankadaptor.predictor.damage.trained import TrainedDamage

SHIPPED = Path(__file__).parent.parent / "trained" / "damage.json"
"""Beside it lies its card, `damage.md`."""


def load_trained_damage(path: str | Path | None = None) -> TrainedDamage:
    """Load a meta-trained model of damage.

    Args:
        path: A file that `save_trained_damage` wrote; by default the one that is part of the package.

    Raises:
        CheckpointError: If the file is missing, or holds no such model.
    """
    path = SHIPPED if path is None else Path(path)
    try:
        data = read_json(path)
        if not isinstance(data, dict):
            raise InputError("no JSON object.")
        return TrainedDamage.from_json(data)
    except InputError as error:
        raise CheckpointError(
            f"{path}: no trained model of damage ({error}). Leave the path out to take the shipped one."
        ) from error


def save_trained_damage(trained: TrainedDamage, path: str | Path) -> None:
    """Write a model of damage as JSON.

    Raises:
        StorageError: If the file cannot be written.
    """
    write_json(Path(path), trained.to_json())
