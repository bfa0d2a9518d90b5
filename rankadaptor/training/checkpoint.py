"""Checkpoints of a fine-tune: tensors as safetensors, the rest as JSON with their digest."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from rankadaptor.errors import CheckpointError, InputError
from rankadaptor.files import compute_file_sha256, read_json, write_bytes, write_json

if TYPE_CHECKING:
    from rankadaptor.data.sequences import TokenSequence

SCHEMA = 1
STATE_FILE = "training.json"
START_OVER = "Delete the folder to start this fine-tune over."
KEYS = frozenset({"identity", "weights", "sha256", "step", "tokens", "seconds", "losses", "curve"}) | {
    "best_step", "stopped",
}  # fmt: skip
METHOD = "method."
MOMENTS = ("exp_avg", "exp_avg_sq")
LATER = frozenset({"held_out", "evaluate_every", "patience", "quantised", "weights", "precision"})
"""Fields that checkpoints of earlier versions lack; for those they are not compared."""


@dataclass(frozen=True)
class CurvePoint:
    """Held-out loss (nats per token) after `step` optimiser steps and `tokens` input tokens."""

    step: int
    tokens: int
    loss: float


@dataclass
class TrainingState:
    """State of a fine-tune after `step` optimiser steps, besides weights and optimiser moments.

    Attributes:
        step: Optimiser steps done.
        tokens: Input tokens seen, padding not counted.
        seconds: Time spent training and evaluating, over all resumed parts.
        losses: Training loss of each step, nats per token.
        curve: Held-out losses measured on the way.
        best: Adapter weights at the lowest held-out loss, or None if none was measured.
        best_step: The step of `best`.
        stopped: Whether early stopping ended the run.
        teacher_tokens: Tokens that a teacher read.
        teacher_seconds: The part of `seconds` that it took.
        method: State of the method beside its weights, by name; empty for most.
    """

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    curve: list[CurvePoint] = field(default_factory=list)
    best: dict[str, torch.Tensor] | None = None
    best_step: int | None = None
    stopped: bool = False
    teacher_tokens: int = 0
    teacher_seconds: float = 0.0
    method: dict[str, torch.Tensor] = field(default_factory=dict)


def save_state(
    folder: Path,
    state: TrainingState,
    *,
    parameters: dict[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    identity: dict[str, Any],
) -> None:
    """Write a checkpoint; a crash at any point leaves the previous one intact.

    Raises:
        StorageError: If the folder cannot be written or the disk is full.
    """
    tensors = {f"adapter.{name}": value.detach() for name, value in parameters.items()}
    for name, value in parameters.items():
        for moment in MOMENTS:
            tensors[f"{moment}.{name}"] = optimizer.state[value][moment]
    tensors |= {f"best.{name}": value for name, value in (state.best or {}).items()}
    tensors |= {f"{METHOD}{name}": value for name, value in state.method.items()}
    weights = folder / f"step-{state.step:06d}.safetensors"
    write_bytes(weights, save({name: value.cpu().contiguous() for name, value in tensors.items()}))
    record = {
        "schema": SCHEMA,
        "identity": identity,
        "weights": weights.name,
        "sha256": compute_file_sha256(weights),
        "step": state.step,
        "tokens": state.tokens,
        "seconds": state.seconds,
        "losses": state.losses,
        "curve": [asdict(point) for point in state.curve],
        "best_step": state.best_step,
        "stopped": state.stopped,
        "teacher_tokens": state.teacher_tokens,
        "teacher_seconds": state.teacher_seconds,
    }
    write_json(folder / STATE_FILE, record)
    for old in folder.glob("step-*.safetensors"):
        if old != weights:
            old.unlink(missing_ok=True)


def load_state(
    folder: Path,
    *,
    parameters: dict[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    identity: dict[str, Any],
) -> TrainingState:
    """Read a checkpoint into parameters and optimiser, or return a fresh state if the folder holds none.

    Raises:
        CheckpointError: If the checkpoint is broken or belongs to another run.
    """
    if not (folder / STATE_FILE).is_file():
        return TrainingState()
    record = read_record(folder / STATE_FILE)
    differing = _list_differences(record["identity"], identity)
    if differing:
        raise CheckpointError(
            f"{folder} holds a checkpoint of another run. It differs in: {'; '.join(differing)}. "
            "Choose another checkpoint folder, or delete this one to start over."
        )
    tensors = _read_tensors(folder / record["weights"], record["sha256"])
    step = int(record["step"])
    with torch.no_grad():
        for name, value in parameters.items():
            value.copy_(tensors[f"adapter.{name}"])
            moments = {moment: tensors[f"{moment}.{name}"].to(value.device) for moment in MOMENTS}
            optimizer.state[value] = {"step": torch.tensor(float(step), device=value.device), **moments}
    best = {name: tensors[f"best.{name}"] for name in parameters if f"best.{name}" in tensors}
    return TrainingState(
        step=step,
        tokens=int(record["tokens"]),
        seconds=float(record["seconds"]),
        losses=[float(loss) for loss in record["losses"]],
        curve=[CurvePoint(**point) for point in record["curve"]],
        best=best or None,
        best_step=record["best_step"],
        stopped=bool(record["stopped"]),
        teacher_tokens=int(record.get("teacher_tokens", 0)),  # earlier versions had no teachers
        teacher_seconds=float(record.get("teacher_seconds", 0.0)),
        method={
            name.removeprefix(METHOD): value for name, value in tensors.items() if name.startswith(METHOD)
        },
    )


def digest_sequences(sequences: Sequence[TokenSequence]) -> str:
    """Return the digest of token sequences."""
    digest = hashlib.sha256()
    for sequence in sequences:
        digest.update(repr((sequence.input_ids, sequence.labels)).encode())
    return digest.hexdigest()[:16]


def read_record(path: Path) -> dict[str, Any]:
    """Read `training.json` of a checkpoint.

    Raises:
        CheckpointError: If it cannot be read, is of another schema, or lacks something.
    """
    try:
        record = read_json(path)
    except InputError as error:
        raise CheckpointError(f"{error} {START_OVER}") from error
    if isinstance(record, dict) and record.get("schema", SCHEMA) != SCHEMA:
        raise CheckpointError(
            f"{path}: schema {record['schema']}, this version reads {SCHEMA}. "
            "Delete the folder to start over, or continue with the version that wrote it."
        )
    missing = sorted(KEYS - record.keys()) if isinstance(record, dict) else ["an object of JSON"]
    if missing or not isinstance(record, dict):
        raise CheckpointError(f"{path}: lacks {', '.join(missing)}. {START_OVER}")
    return record


def _read_tensors(path: Path, sha256: str) -> dict[str, torch.Tensor]:
    try:
        if compute_file_sha256(path) == sha256:
            return dict(load_file(path))
        fault = "its content has changed"
    except (OSError, SafetensorError) as error:
        fault = str(error)
    raise CheckpointError(f"{path}: cannot be read ({fault}). {START_OVER}")


def _list_differences(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    keys = sorted((there.keys() | here.keys()) - (LATER - there.keys()))
    return [f"{key} {there.get(key)} → {here.get(key)}" for key in keys if there.get(key) != here.get(key)]
