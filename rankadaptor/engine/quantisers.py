"""Weights packed into the engine's tensor types, and unpacked again.

The gguf package packs what it knows; the library of the engine packs the other types, and those whose
packing makes use of importance weights. Where both can, the bytes are the same. Without importance weights,
weights that lie exactly on the grid of their type stay as they are; see `engine.grids`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rankadaptor.engine.grids import GRIDS, keep_grids
from rankadaptor.engine.library import load_quantiser
from rankadaptor.engine.types import TensorType, find_type
from rankadaptor.errors import InputError, NonFiniteError

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

BY_PACKAGE = ("F32", "F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0", "MXFP4")
WITHOUT_IMPORTANCE = ("F32", "F16", "BF16", "Q8_0", "MXFP4")  # their packing has nothing to weigh
WIDE_RANGE = ("F32", "BF16", "MXFP4")  # all others hold values or scales in float16
LARGEST_HALF = 65504.0


def quantise(
    values: npt.NDArray[Any], type_name: str, *, importance: npt.NDArray[Any] | None = None
) -> Bytes:
    """Pack a weight matrix.

    Blocks that are levels of some scale already, because they come from a file or were trained so, keep that
    scale and do not change; not with importance, where the bytes are always the engine's own.

    Args:
        values: (rows, columns) weights; rows are quantised each for itself.
        type_name: One of `TYPES`.
        importance: (columns,) importance of each input, for example its mean squared activation: errors of
            important weights are made smaller. Types that have no use for it ignore it.

    Returns:
        (rows, bytes of a row) packed weights.

    Raises:
        InputError: If shapes do not fit the type, or the engine is needed and not installed.
        NonFiniteError: If a weight or an importance is NaN or infinite, or out of the range of the type.
    """
    kind = find_type(type_name)
    matrix = _check_values(values, kind)
    weights = None if importance is None else _check_importance(importance, matrix.shape[1])
    if kind.name in WITHOUT_IMPORTANCE or (weights is None and kind.name in BY_PACKAGE):
        packed = _pack_by_package(matrix, kind)
    else:
        packed = load_quantiser().pack(matrix, _number(kind), weights, count=kind.count_bytes(*matrix.shape))
    if weights is None and kind.name in GRIDS:
        packed = keep_grids(matrix, packed, kind.name)
    return packed.reshape(matrix.shape[0], -1)


def dequantise(packed: Bytes, type_name: str, shape: Sequence[int]) -> Floats:
    """Unpack a weight matrix.

    Args:
        packed: Packed weights, as `quantise` returns them.
        type_name: The type they are packed in.
        shape: (rows, columns) of the matrix.

    Raises:
        InputError: If the bytes are not as many as this shape has in this type.
    """
    import gguf

    kind = find_type(type_name)
    rows, columns = shape
    wanted = kind.count_bytes(rows, columns)
    if packed.nbytes != wanted:
        raise InputError(
            f"{rows} x {columns} weights in {kind.name} are {wanted} bytes, not {packed.nbytes}. "
            "Give the shape and the type that they were packed with."
        )
    raw = np.ascontiguousarray(packed).view(np.uint8).reshape(rows, wanted // rows)
    values = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType(_number(kind)))
    return np.array(values, dtype=np.float32).reshape(rows, columns)


def round_trip(
    values: npt.NDArray[Any], type_name: str, *, importance: npt.NDArray[Any] | None = None
) -> Floats:
    """Return the (rows, columns) weights that the engine computes with once they are stored in a type.

    Raises:
        InputError: As of `quantise`.
        NonFiniteError: As of `quantise`.
    """
    return dequantise(quantise(values, type_name, importance=importance), type_name, values.shape)


def _number(kind: TensorType) -> int:
    import gguf

    return int(gguf.GGMLQuantizationType[kind.name])


def _pack_by_package(matrix: Floats, kind: TensorType) -> Bytes:
    import gguf

    packed = gguf.quants.quantize(matrix, gguf.GGMLQuantizationType(_number(kind)))
    return np.ascontiguousarray(packed).view(np.uint8)


def _check_values(values: npt.NDArray[Any], kind: TensorType) -> Floats:
    matrix = np.ascontiguousarray(values, dtype=np.float32)
    if matrix.ndim != 2 or not matrix.size:
        raise InputError(f"a weight matrix of shape {matrix.shape}: give rows x columns, both at least 1.")
    kind.check_columns(matrix.shape[1])
    largest = float(np.abs(matrix).max())
    if not np.isfinite(largest):
        raise NonFiniteError(
            f"a weight is {'NaN' if np.isnan(largest) else 'infinite'}: the matrix cannot be stored in "
            f"{kind.name}. Find out which step broke the weights."
        )
    if largest > LARGEST_HALF and kind.name not in WIDE_RANGE:
        raise NonFiniteError(
            f"the largest weight is {largest:.3g}, and {kind.name} holds float16 numbers of at most "
            f"{LARGEST_HALF:.0f}. Choose BF16 or F32 for this tensor."
        )
    return matrix


def _check_importance(importance: npt.NDArray[Any], columns: int) -> Floats:
    weights = np.ascontiguousarray(importance, dtype=np.float32)
    if weights.shape != (columns,):
        raise InputError(f"importance of shape {weights.shape}: give one number per column, ({columns},).")
    if not np.isfinite(weights).all():
        raise NonFiniteError("an importance is NaN or infinite. Collect the importances again.")
    if (weights < 0).any():
        raise InputError(f"an importance is {weights.min():.3g}: give numbers of at least 0.")
    return weights
