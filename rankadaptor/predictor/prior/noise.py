"""How the measured means of a setting scatter around the true gains."""

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
"""Root mean square log-ratio to uniform at which the noise is one."""
NEAR_SHARE = 0.3
"""Share of the noise variance there that does not grow with the distance from uniform."""


def describe_noise(space: Space, observations: Observations) -> tuple[Floats, Floats]:
    """Return two parts of the covariance `(n, n)` of the mean gains, for a noise of one.

    The first is each allocation's own luck: less the more often it was measured, and more the farther it is
    from uniform, because a gain is a difference of two runs on one seed, and runs that differ little have
    most of their luck in common. The second is uniform's own luck, which all gains of a seed share; how much
    of it there is beside the first is for the caller to say.
    """
    own = np.diag(scale_noise(space, observations.choices) ** 2 / observations.counts)
    return own, observations.shares @ observations.shares.T


def scale_noise(space: Space, choices: NDArray[np.int64]) -> Floats:
    """Return the SD of a measurement of each allocation `(n,)` for a noise of one."""
    square = (read_coordinates(space, choices) ** 2).sum(axis=1) / space.n_slots / FAR**2
    scale: Floats = np.sqrt(NEAR_SHARE + (1.0 - NEAR_SHARE) * np.minimum(square, 4.0))
    return scale
