"""The order of importance inside each half, and the rows and columns that a width keeps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rankadaptor.components.width.halves import Half, Part
from rankadaptor.errors import InputError
from rankadaptor.pruning.aggregation import Array

Indices = NDArray[np.int64]


def order_groups(halves: Sequence[Half], scores: Sequence[Array]) -> list[Indices]:
    """Order the groups of every half by their scores, the most important first; ties keep their order.

    Args:
        halves: The halves of a model.
        scores: One array `(groups,)` for each, as `score_groups` returns for `find_groups(model)`.

    Raises:
        InputError: If their number or a length is not the model's, or a score is not finite.
    """
    if len(scores) != len(halves):
        raise InputError(
            f"{len(scores)} arrays of scores for {len(halves)} halves of blocks. Give "
            "score_groups(model, find_groups(model), ...) of the same model."
        )
    orders = []
    for half, score in zip(halves, scores, strict=True):
        values = np.asarray(score, dtype=np.float64)
        if values.shape != (half.full,) or not np.isfinite(values).all():
            raise InputError(
                f"{half.name}: scores of shape {values.shape}; needed are {half.full} finite numbers, one a "
                f"{'KV group' if half.query_heads else 'channel'}."
            )
        orders.append(np.argsort(-values, kind="stable").astype(np.int64))
    return orders


def list_indices(part: Part, order: Indices) -> Indices:
    """Return the rows or columns of a linear that belong to groups, group after group in the order given."""
    inside = np.arange(part.step, dtype=np.int64)
    indices: Indices = (order[:, None] * part.step + inside).ravel()
    return indices
