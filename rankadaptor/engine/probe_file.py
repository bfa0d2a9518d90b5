"""GGUF files with random weights in given shapes and types: speed does not depend on the values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rankadaptor.engine.file_plan import Chosen, Field, ModelShape, PlannedTensor, plan_file
from rankadaptor.engine.gguf_file import write_planned
from rankadaptor.engine.model_fields import list_model_fields
from rankadaptor.engine.quantisers import quantise
from rankadaptor.files import name_storage_fault

if TYPE_CHECKING:
    from numpy.typing import NDArray

DISTINCT_ROWS = 16
SCALE = 0.02


def write_probe(
    shape: ModelShape,
    config: Any,
    path: Path,
    *,
    types: Mapping[str, str] | None = None,
    default_type: str = "F16",
    seed: int = 0,
) -> None:
    """Write a file without a tokenizer whose matrices repeat a few random rows.

    Args:
        shape: Shape of the model, widths of its blocks included.
        config: Its Hugging Face configuration.
        path: The file.
        types: Module name → name of a type, as of `write_gguf`.
        default_type: Type of matrices that are not named.
        seed: Of the weights.

    Raises:
        InputError: If a type does not fit the rows of its tensor.
        StorageError: If the file cannot be written.
    """
    chosen = Chosen(types or {}, default_type)
    fields = [
        *list_model_fields(shape, config, chosen=chosen),
        Field("tokenizer.ggml.model", "string", "none"),
    ]
    plan = plan_file(shape, fields, types=types, default_type=default_type)
    packed: dict[tuple[int, str], NDArray[np.uint8]] = {}
    generator = np.random.default_rng(seed)

    def pack(tensor: PlannedTensor) -> NDArray[np.uint8]:
        if len(tensor.shape) == 1:
            return quantise(np.ones((1, *tensor.shape), np.float32), tensor.type)
        rows, columns = tensor.shape
        key = columns, tensor.type
        if key not in packed:
            values = generator.normal(0, SCALE, (DISTINCT_ROWS, columns)).astype(np.float32)
            packed[key] = quantise(values, tensor.type)
        return np.resize(packed[key], (rows, packed[key].shape[1]))

    with name_storage_fault(path):
        write_planned(path, plan, fields, pack)
