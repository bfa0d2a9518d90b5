"""Trials on machines without a shared disk: weights, tokenizer and rows are sent with the job."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rankadaptor.errors import CheckpointError
from rankadaptor.recipe import Recipe
from rankadaptor.runtime import Compute
from rankadaptor.space import Space
from rankadaptor.workers import join_cluster

if TYPE_CHECKING:
    import torch

    from rankadaptor.measure.fine_tune import ShortFineTune
    from rankadaptor.pipeline.trial_source import TrialSource

WEIGHTS = "*.safetensors"


@dataclass(frozen=True)
class SharedSource:
    """The inputs of a setting's trials; the large parts are in Ray's object store.

    Attributes:
        weights: References to the checkpoint's safetensors files, one byte array each. A node fetches each
            once; its workers read the same memory.
        files: Reference to the checkpoint's other files by name: configuration and tokenizer.
        rows: Reference to the training and the held-out rows.
        space: The space that allocations belong to.
        recipe: Fine-tuning recipe.
        steps: Optimiser steps of a trial unless a job says otherwise.
        setting: Name that records carry.
        compute: Device, precision and threads of a trial on the cluster.
    """

    weights: tuple[Any, ...]
    files: Any
    rows: Any
    space: Space
    recipe: Recipe
    steps: int
    setting: str
    compute: Compute


def share_source(source: TrialSource) -> SharedSource:
    """Put the inputs of trials into the object store, once for all workers."""
    ray = join_cluster()
    files = {
        path.name: path.read_bytes()
        for path in sorted(source.model.iterdir())
        if path.is_file() and not path.match(WEIGHTS)
    }
    device = source.execution.device
    compute = dataclasses.replace(
        source.compute, device=device, reason=f"a trial on the cluster; {source.compute.dtype} as its driver"
    )
    return SharedSource(
        weights=tuple(
            ray.put(np.memmap(path, dtype=np.uint8, mode="r").view(np.ndarray))
            for path in sorted(source.model.glob(WEIGHTS))
        ),
        files=ray.put(files),
        rows=ray.put(source.split.load()),
        space=source.space,
        recipe=source.recipe,
        steps=source.steps,
        setting=source.setting,
        compute=compute,
    )


def build_shared_measure(shared: SharedSource) -> ShortFineTune:
    """Build, on a node, the callable that measures allocations; frozen weights stay in the object store."""
    import ray

    from rankadaptor.measure.fine_tune import ShortFineTune
    from rankadaptor.named_models import load

    shared.compute.apply()
    weights: dict[str, torch.Tensor] = {}
    for content in ray.get(list(shared.weights)):
        weights.update(read_tensors(content))
    train, held_out = ray.get(shared.rows)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in ray.get(shared.files).items():
            (Path(folder) / name).write_bytes(content)
        model, tokenizer = load(folder, compute=shared.compute, weights=weights)
    return ShortFineTune(
        model,
        tokenizer,
        data=train,
        held_out=held_out,
        recipe=shared.recipe,
        steps=shared.steps,
        setting=shared.setting,
        compute=shared.compute,
    )


def read_tensors(content: np.ndarray[Any, np.dtype[np.uint8]]) -> Mapping[str, torch.Tensor]:
    """Read the tensors of a safetensors file that is in memory already, without copying them.

    Args:
        content: The whole file, `(bytes,)`. It may be read-only: the tensors must not be written to.

    Raises:
        CheckpointError: If it is not a safetensors file.
    """
    try:
        return dict(_view_tensors(content))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise CheckpointError(
            f"the shared weights are not readable ({error}). Save the checkpoint again."
        ) from error


def _view_tensors(content: np.ndarray[Any, np.dtype[np.uint8]]) -> Iterator[tuple[str, torch.Tensor]]:
    import warnings

    import torch

    kinds = {
        "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
        "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
        "BOOL": torch.bool,
    }  # fmt: skip
    start = 8 + int.from_bytes(content[:8].tobytes(), "little")
    header = json.loads(content[8:start].tobytes())
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        first, last = entry["data_offsets"]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*not writable.*")  # frozen weights never are
            flat = torch.from_numpy(content[start + first : start + last])
        yield name, flat.view(kinds[entry["dtype"]]).view(entry["shape"])
