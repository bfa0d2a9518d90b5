"""The performance model's input: the rank vector and the number of its slots [RankAdaptor]_."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rankadaptor.errors import InputError
from rankadaptor.predictor.prediction import Floats

if TYPE_CHECKING:
    from rankadaptor.space import Space

WIDTH = 256
SCALE = 0.25  # keeps the first hidden layer in the nearly linear middle of its activation


def encode_values(space: Space, values: NDArray[np.int64], *, width: int = WIDTH) -> Floats:
    """Encode options, shape `(n, n_slots)`, as inputs of shape `(n, width + 1)`.

    Each option r of a slot whose uniform option is u becomes log2((1 + r) / (1 + u)). Doublings matter more
    than units (recovery saturates with rank), option 0 stays finite, and uniform is the origin in every
    space, so that the zeros that pad short vectors mean "as in uniform". The numbers are multiplied by
    sqrt(width / n_slots): a first layer then answers equally strongly whether a space has 30 slots or 210.
    The last column is n_slots / width.

    Raises:
        InputError: If the space has more slots than `width`.
    """
    slots = len(space.slots)
    if slots > width:
        raise InputError(
            f"the space has {slots} slots, this predictor takes at most {width}. Use coarser slots "
            "(slots='block' or 'half_block'), or another predictor: 'gaussian_process', 'ridge' "
            "or 'boosted_trees'."
        )
    reference = np.asarray(space.reference, dtype=np.float64)
    inputs = np.zeros((len(values), width + 1))
    inputs[:, :slots] = np.log2((1.0 + values) / (1.0 + reference)) * (SCALE * np.sqrt(width / slots))
    inputs[:, width] = slots / width
    return inputs
