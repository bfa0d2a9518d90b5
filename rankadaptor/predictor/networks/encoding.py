"""The input of the perceptron: the rank vector and the number of slots [RankAdaptor]_."""

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
SCALE = 0.25  # keeps the first hidden layer near the linear range of its activation


def encode_choices(space: Space, choices: NDArray[np.int64], *, width: int = WIDTH) -> Floats:
    """Encode choices, shape `(n, n_slots)`, as inputs of shape `(n, width + 1)`.

    Each option becomes its coordinates divided by log 2: log2((1 + r) / (1 + u)) for a rank r in a slot of
    uniform rank u. The scale is logarithmic because recovery saturates with rank; rank 0 stays finite; and
    uniform is the origin of every space, so that zero padding means "as in uniform". The numbers are
    multiplied by sqrt(width / n), so that the activations of the first layer have the same size whether a
    space has n = 30 coordinates or 210. The last column is n / width.

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
