"""The folder of a super-network: shared adapter weights, the order of groups, and what they belong to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from rankadaptor.errors import CheckpointError
from rankadaptor.files import compute_file_sha256, read_json, write_bytes, write_json
from rankadaptor.model.identity import BaseIdentity, identify_base
from rankadaptor.recipe import Recipe
from rankadaptor.space import Space
from rankadaptor.supernet.network import SuperNetwork

if TYPE_CHECKING:
    from rankadaptor.pruning.aggregation import Array

SCHEMA = 1
WEIGHTS_FILE = "super_network.safetensors"
DESCRIPTION = "super_network.json"
KEYS = frozenset({"schema", "space", "recipe", "seed", "importance", "base", "sha256", "trained"})
AGAIN = "Delete the folder and train the super-network again."


@dataclass(frozen=True)
class Trained:
    """How a super-network was trained.

    Attributes:
        steps: Optimiser steps.
        rule: Which allocations each step trained, one of `plan.RULES`.
        tokens: Tokens passed through slices, padding not counted.
        seconds: Time spent.
    """

    steps: int
    rule: str
    tokens: int
    seconds: float


def save_super_network(network: SuperNetwork, folder: str | Path, *, trained: Trained) -> Path:
    """Write weights and the scores that order groups (safetensors), and a description (JSON).

    Raises:
        StorageError: If the folder cannot be written.
    """
    target = Path(folder)
    scores = {
        f"scores.{number}": torch.from_numpy(np.ascontiguousarray(score, dtype=np.float64))
        for number, score in enumerate(network.scores)
    }
    write_bytes(target / WEIGHTS_FILE, save(network.read_weights() | scores))
    with network.applied(None):
        base = identify_base(network.peft_model)
    write_json(
        target / DESCRIPTION,
        {
            "schema": SCHEMA,
            "space": network.space.to_json(),
            "recipe": network.recipe.to_json(),
            "seed": network.seed,
            "importance": network.importance,
            "types": network.types,
            "base": base.to_json(),
            "sha256": compute_file_sha256(target / WEIGHTS_FILE),
            "trained": trained.__dict__,
        },
    )
    return target


def load_super_network(model: Any, folder: str | Path) -> SuperNetwork:
    """Open a super-network that `save_super_network` wrote on the model that it was trained on.

    Raises:
        InputError: If there is none in the folder.
        CheckpointError: If it is damaged, of another version, or was trained on other weights.
    """
    source = Path(folder)
    description = _read_description(source / DESCRIPTION)
    trained, given = BaseIdentity(**description["base"]), identify_base(model)
    if trained.differs_from(given):
        raise CheckpointError(
            f"{folder}: this super-network was trained on the weights {trained.digest}, but the model has "
            f"{given.digest}. Give the model that it was trained on, or train one for this."
        )
    tensors = _read_tensors(source / WEIGHTS_FILE, description["sha256"])
    scores: list[Array] = []
    while (name := f"scores.{len(scores)}") in tensors:
        scores.append(tensors.pop(name).numpy())
    network = SuperNetwork(
        model,
        Space.from_json(description["space"]),
        Recipe(**description["recipe"]),
        seed=int(description["seed"]),
        scores=scores,
        importance=description["importance"],
        types=description.get("types"),
    )
    network.load_weights(tensors)
    return network


def read_trained(folder: str | Path) -> Trained:
    """Return how the super-network in a folder was trained.

    Raises:
        InputError: If there is none in the folder.
        CheckpointError: If its description is damaged or of another version.
    """
    return Trained(**_read_description(Path(folder) / DESCRIPTION)["trained"])


def _read_description(path: Path) -> dict[str, Any]:
    found: Any = read_json(path)
    if not isinstance(found, dict) or not found.keys() >= KEYS:
        raise CheckpointError(f"{path}: must be an object of JSON with {', '.join(sorted(KEYS))}. {AGAIN}")
    if found["schema"] != SCHEMA:
        raise CheckpointError(f"{path}: schema {found['schema']}, this version reads {SCHEMA}. {AGAIN}")
    return found


def _read_tensors(path: Path, sha256: str) -> dict[str, torch.Tensor]:
    try:
        if compute_file_sha256(path) == sha256:
            return dict(load_file(path))
        fault = "its content is not what was written"
    except (OSError, SafetensorError) as error:
        fault = str(error)
    raise CheckpointError(f"{path}: cannot be read ({fault}). {AGAIN}")
