"""Noise of the measured gains of a setting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rankadaptor.features import read_coordinates
from rankadaptor.predictor.observations import Observations
from rankadaptor.predictor.prediction import Floats

if TYPE_CHECKING:
    from rankadaptor.space import Space

FAR = 0.5
"""Root mean square coordinate, a log-ratio to the reference, at which the noise is one."""
NEAR_SHARE = 0.3
"""Share of the noise variance there that does not grow with the distance from the reference."""


def build_noise_covariances(space: Space, observations: Observations) -> tuple[Floats, Floats]:
    """Return two parts of the covariance `(n, n)` of the mean gains, for a noise of one.

    The first is the noise of each allocation. It falls with the number of repeats and grows with the distance
    from the reference: a gain is a difference of two runs with one seed, and the noise of similar runs
    largely cancels. The second is the noise of the reference, common to all gains of a seed; its size
    relative to the first is a factor that the caller applies.
    """
    own = np.diag(scale_noise(space, observations.choices) ** 2 / observations.counts)
    return own, observations.shares @ observations.shares.T


def scale_noise(space: Space, choices: NDArray[np.int64]) -> Floats:
    """Return the SD of a measurement of each allocation `(n,)` for a noise of one."""
    square = (read_coordinates(space, choices) ** 2).sum(axis=1) / space.n_slots / FAR**2
    scale: Floats = np.sqrt(NEAR_SHARE + (1.0 - NEAR_SHARE) * np.minimum(square, 4.0))
    return scale
