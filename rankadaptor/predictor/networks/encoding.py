"""The performance model's input: the rank vector and the number of its slots [RankAdaptor]_."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rankadaptor.errors import InputError
from rankadaptor.features import read_coordinates
from rankadaptor.predictor.prediction import Floats

if TYPE_CHECKING:
    from rankadaptor.space import Space

WIDTH = 256
SCALE = 0.25  # keeps the first hidden layer in the nearly linear middle of its activation


def encode_choices(space: Space, choices: NDArray[np.int64], *, width: int = WIDTH) -> Floats:
    """Encode choices, shape `(n, n_slots)`, as inputs of shape `(n, width + 1)`.

    Each option becomes its coordinates over log 2: for a rank r whose uniform rank is u, this is
    log2((1 + r) / (1 + u)). Doublings matter more than units (recovery saturates with rank), rank 0 stays
    finite, and uniform is the origin in every space, so that the zeros that pad short vectors mean "as in
    uniform". The numbers are multiplied by sqrt(width / n): a first layer then answers equally strongly
    whether a space has n = 30 coordinates of slots or 210. The last column is n / width.

    Raises:
        InputError: If the space has more slots than `width`.
    """
    slots = len(space.slots) * len(space.tables.coordinates)
    if slots > width:
        raise InputError(
            f"the space has {slots} coordinates of slots, this predictor takes at most {width}. Use coarser "
            "slots (slots='block' or 'half_block'), or another predictor: 'gaussian_process', 'ridge' or "
            "'boosted_trees'."
        )
    inputs = np.zeros((len(choices), width + 1))
    doublings = read_coordinates(space, choices) / np.log(2.0)
    inputs[:, :slots] = doublings * (SCALE * np.sqrt(width / slots))
    inputs[:, width] = slots / width
    return inputs
