"""Files of finished steps: their required keys, and the remedy if one is damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rankadaptor.errors import CheckpointError, InputError
from rankadaptor.files import read_json

STEP_KEYS: dict[str, tuple[str, ...]] = {
    "prepare": ("pruning", "losses", "digests"),
    "space": ("space",),
    "tune": ("recipe", "trials", "tokens"),
    "search": ("best", "history", "tokens", "predictor"),
    "confirm": ("outcome", "gain", "low", "high", "tokens"),
    "choose": ("recipe", "changes", "rungs", "tokens"),
    "recover": ("adapters",),
    "evaluate": ("benchmarks", "differences"),
}
COSTS = {
    "prepare": "the model is pruned and measured again; trials that are recorded stay",
    "space": "the space is built again, in seconds",
    "tune": "the choice is made again from the recorded trials",
    "search": "the search is replayed from its records, in seconds",
    "confirm": "the verdict is given again from the recorded trials",
    "choose": "the choice is made again from the recorded trainings",
    "recover": "finished adapters are kept, and the step is written from them",
    "evaluate": "models that are scored already are not scored again",
}
COMPRESS_KEYS: dict[str, tuple[str, ...]] = {
    "prepare": ("losses", "model", "texts", "digests", "compute"),
    "speed": ("table",),
    "sweep": ("space", "records", "evaluations", "tokens"),
    "search": ("optimum", "best", "kl", "history", "evaluations", "tokens"),
    "baselines": ("found", "tokens"),
    "finalists": ("chosen", "finalists", "rate", "tokens"),
    "ranks": ("verdict", "searched", "ranks", "tokens"),
    "recoveries": ("jobs",),
    "recover": ("tokens", "losses", "types", "files"),
    "export": ("bytes", "sha256", "parameters", "planned", "engine"),
    "stock": ("points",),
    "stock_recovered": ("points", "tokens", "skipped"),
    "references": ("points", "tokens"),
    "judge": ("points", "verdict"),
}
COMPRESS_COSTS = {
    "prepare": "importance and the dense model's losses are measured again; scores that are recorded stay",
    "sweep": "the sweep is read from its records, in seconds",
    "search": "the search is replayed from its records, in seconds",
    "baselines": "they are chosen again from recorded scores",
    "finalists": "finished recoveries are kept, and the step is put together from them",
    "ranks": "the search and its verdict are replayed from their records",
    "recoveries": "what is finished is kept, and the step is put together from it",
    "recover": "the recovery is read from its checkpoint",
    "stock": "files that are measured are kept, and the step is put together from them",
    "stock_recovered": "files that are measured are kept; the recovery is read from its checkpoint",
    "references": "those that are measured are kept, and the step is put together from them",
}
ELASTIC_KEYS: dict[str, tuple[str, ...]] = {
    "prepare": ("losses", "model", "texts", "space", "digests", "compute"),
    "train": ("losses", "tokens"),
    "search": ("methods", "best", "limit", "tokens"),
    "references": ("points", "tokens"),
    "judge": ("points", "verdicts", "speed", "best"),
}
ELASTIC_COSTS = {
    "prepare": "the model's losses are measured again",
    "train": "the training is read from its checkpoint",
    "search": "the search is replayed from its records",
    "references": "finished trainings are read from their checkpoints",
}
JOBS = {
    "rank_search": (STEP_KEYS, COSTS),
    "compress": (COMPRESS_KEYS, COMPRESS_COSTS),
    "elastic": (ELASTIC_KEYS, ELASTIC_COSTS),
}
OTHERS = "the step is done again; trials that are recorded stay"


def read_step(path: Path, step: str, *, job: str = "rank_search") -> dict[str, Any]:
    """Read the result of a finished step.

    Args:
        path: The file.
        step: Name of the step.
        job: Kind of the run, which says what the step's result holds.

    Raises:
        CheckpointError: If the file does not hold it; the message says what deleting the file costs.
    """
    known, costs = JOBS[job]
    keys = (*known.get(step, ()), "seconds")
    return read_object(path, keys=keys, what=f"the result of the step {step}", cost=costs.get(step, OTHERS))


def read_object(path: Path, *, keys: tuple[str, ...], what: str, cost: str) -> dict[str, Any]:
    """Read a JSON file of a run's folder.

    Args:
        path: The file.
        keys: Keys that it must have.
        what: What it holds, for the message.
        cost: What happens if it is deleted and the same command is run again.

    Raises:
        CheckpointError: If it cannot be read, is no JSON object, or lacks a key.
    """
    fault = ""
    value: Any = None
    try:
        value = read_json(path)
    except (InputError, OSError, ValueError, RecursionError) as error:
        fault = str(error).removeprefix(f"{path}: ").rstrip(".") or type(error).__name__
    else:
        if not isinstance(value, dict):
            fault = f"it holds {'a list' if isinstance(value, list) else type(value).__name__}"
        elif missing := [key for key in keys if key not in value]:
            fault = f"it lacks {', '.join(missing)}"
    if fault or not isinstance(value, dict):
        raise CheckpointError(
            f"{path}: must hold {what}, a JSON object with {', '.join(keys)}, but {fault}. Delete this file "
            f"and run the same command again: {cost}."
        )
    return value
