"""Rank correlations of a few dozen pairs, with intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from experiments.evidence.components import CONFIDENCE

Floats = NDArray[np.float64]

FEWEST_PAIRS = 5
FIELLER = 1.06
"""Variance of Fisher's z of Spearman's ρ times (n − 3), after Fieller, Hartley and Pearson (1957)."""


@dataclass(frozen=True)
class Correlation:
    """Spearman's ρ and Kendall's τ of pairs.

    Attributes:
        pairs: Number of pairs.
        spearman: Spearman's ρ.
        low: Lower end of its 95 % interval.
        high: Upper end.
        kendall: Kendall's τ.
    """

    pairs: int
    spearman: float
    low: float
    high: float
    kendall: float


def correlate(one: ArrayLike, two: ArrayLike) -> Correlation | None:
    """Correlate pairs, both `(n,)`; None with fewer than `FEWEST_PAIRS` or if one side is constant."""
    from scipy import stats

    first, second = np.asarray(one, dtype=np.float64), np.asarray(two, dtype=np.float64)
    count = len(first)
    if count < FEWEST_PAIRS or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    spearman = float(stats.spearmanr(first, second).statistic)
    half = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) * math.sqrt(FIELLER / (count - 3))
    centre = math.atanh(min(max(spearman, -0.999999), 0.999999))
    return Correlation(
        pairs=count,
        spearman=spearman,
        low=math.tanh(centre - half),
        high=math.tanh(centre + half),
        kendall=float(stats.kendalltau(first, second).statistic),
    )
