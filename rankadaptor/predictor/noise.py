"""How the measured means of a setting scatter around the true gains."""

from __future__ import annotations

import numpy as np

from rankadaptor.predictor.observations import Observations
from rankadaptor.predictor.prediction import Floats


def build_noise(observations: Observations) -> Floats:
    """Return the covariance `(n, n)` of the mean gains for a noise of one.

    It has two parts of equal variance: each allocation's own luck, less the more often it was measured, and
    uniform's, which all gains of one seed share because each is paired with it.
    """
    return np.diag(1.0 / observations.counts) + observations.shares @ observations.shares.T
