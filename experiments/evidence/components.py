"""Variance components of paired gains: allocation, seed, and residual.

The gain of allocation a under seed s is modelled as

    gain = mean + allocation(a) + seed(s) + rest(a, s)

*seed* is common to all allocations of one seed: the noise of uniform's own run. It shifts every gain and
changes no order. *rest* is the residual of one allocation under one seed. The **noise** of a paired gain, its
SD over repeated seeds of one allocation, is √(seed² + rest²). The spread of gains under one seed is
√(allocation² + rest²), so the true spread is obtained by subtracting the variance of the rest, which is
estimated from the repeats. The interval is exact if the terms are normal and independent: the ratio of the
two mean squares then follows Fisher's F.

The rest is estimated without the screening seed if the other seeds suffice, so the choice of repeated
allocations causes no bias.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
SMALLEST_SAMPLE = 4
"""Allocations under the screening seed below which no spread is given."""


@dataclass(frozen=True)
class Components:
    """The SDs of a setting's gains in nats per token; None where they cannot be estimated.

    Attributes:
        allocations: Allocations measured under the screening seed.
        repeated: Allocations that the noise was estimated from.
        seeds: Seeds that the noise was estimated from.
        observed: SD of the gains over allocations, under the screening seed.
        noise: SD of a paired gain over seeds of one allocation.
        noise_low: Lower end of its 95 % interval.
        noise_high: Upper end.
        shared: SD of the seed term, common to all allocations of a seed.
        rest: SD of the residual of one allocation under one seed.
        rest_freedom: Degrees of freedom of `rest`.
        spread: SD of the true effects, noise removed.
        spread_low: Lower end of its 95 % interval.
        spread_high: Upper end.
        own: Share of the variance under one seed that is due to the allocations, 0 to 1.
        own_low: Lower end of its 95 % interval.
        own_high: Upper end.
        p_value: Probability of a spread at least this large if all allocations were equal.
    """

    allocations: int
    repeated: int = 0
    seeds: int = 0
    observed: float | None = None
    noise: float | None = None
    noise_low: float | None = None
    noise_high: float | None = None
    shared: float | None = None
    rest: float | None = None
    rest_freedom: int = 0
    spread: float | None = None
    spread_low: float | None = None
    spread_high: float | None = None
    own: float | None = None
    own_low: float | None = None
    own_high: float | None = None
    p_value: float | None = None

    @property
    def signal_to_noise(self) -> float | None:
        """Spread of true effects over the noise of one paired gain."""
        return self.spread / self.noise if self.spread is not None and self.noise else None


@dataclass(frozen=True)
class _Noise:
    repeated: int
    seeds: int
    rest: float  # variance
    rest_freedom: int
    shared: float  # variance
    total: float  # variance
    total_low: float
    total_high: float


def separate_variance(gains: Floats, *, screen: int) -> Components:
    """Estimate noise and true spread from gains `(n, k)` of n allocations and k seeds, NaN where missing.

    Args:
        gains: Nats per token.
        screen: Column of the screening seed.
    """
    column = gains[np.isfinite(gains[:, screen]), screen] if gains.size else np.empty(0)
    count = len(column)
    if count < SMALLEST_SAMPLE:
        return Components(count)
    observed = float(column.var(ddof=1))
    noise = _estimate_noise(gains, screen=screen)
    if noise is None:
        return Components(count, observed=math.sqrt(observed))
    from scipy import stats

    tail = (1 - CONFIDENCE) / 2
    known = Components(
        allocations=count,
        repeated=noise.repeated,
        seeds=noise.seeds,
        observed=math.sqrt(observed),
        noise=math.sqrt(noise.total),
        noise_low=math.sqrt(noise.total_low),
        noise_high=math.sqrt(noise.total_high),
        shared=math.sqrt(noise.shared),
        rest=math.sqrt(noise.rest),
        rest_freedom=noise.rest_freedom,
    )
    if noise.rest <= 0:
        return known
    ratio = observed / noise.rest
    freedom = (count - 1, noise.rest_freedom)
    ratios = [
        ratio,
        ratio / float(stats.f.ppf(1 - tail, *freedom)),
        ratio / float(stats.f.ppf(tail, *freedom)),
    ]
    true = [max(each - 1, 0.0) for each in ratios]  # true variance as a multiple of the rest
    spread, spread_low, spread_high = (math.sqrt(each * noise.rest) for each in true)
    own, own_low, own_high = (each / (1 + each) for each in true)
    return Components(
        **{
            **known.__dict__,
            "spread": spread,
            "spread_low": spread_low,
            "spread_high": spread_high,
            "own": own,
            "own_low": own_low,
            "own_high": own_high,
            "p_value": float(stats.f.sf(ratio, *freedom)),
        }
    )


def _estimate_noise(gains: Floats, *, screen: int) -> _Noise | None:
    fresh = _select_repeated(np.delete(gains, screen, axis=1))
    block = fresh if fresh is not None else _select_repeated(gains)
    if block is None:
        return None
    known = np.isfinite(block)
    rows, columns = np.nonzero(known)
    values = block[known]
    by_row = np.eye(block.shape[0])[rows]
    by_column = np.eye(block.shape[1])[columns]
    inside, inside_freedom = _fit(by_row, values)
    rest, rest_freedom = _fit(np.hstack([by_row, by_column]), values)
    column_freedom = inside_freedom - rest_freedom
    if rest_freedom < 1 or column_freedom < 1:
        return None
    rest_variance = rest / rest_freedom
    centred = by_column - by_row @ np.linalg.lstsq(by_row, by_column, rcond=None)[0]
    weight = float((centred * by_column).sum())  # expected sum of squares per unit of seed variance
    shared = max((inside - rest - column_freedom * rest_variance) / weight, 0.0)
    low, high = _bound_sum(
        [(inside - rest) / inside_freedom, rest / inside_freedom], [column_freedom, rest_freedom]
    )
    return _Noise(
        repeated=block.shape[0],
        seeds=block.shape[1],
        rest=rest_variance,
        rest_freedom=rest_freedom,
        shared=shared,
        total=inside / inside_freedom,
        total_low=low,
        total_high=high,
    )


def _bound_sum(parts: Sequence[float], freedoms: Sequence[int]) -> tuple[float, float]:
    """Return the ends of the interval of a sum of multiples of independent mean squares.

    The method of Graybill and Wang (1980), whose level is accurate even if one of them has few degrees of
    freedom.
    """
    from scipy import stats

    tail = (1 - CONFIDENCE) / 2
    below = [1 - freedom / stats.chi2.ppf(1 - tail, freedom) for freedom in freedoms]
    above = [freedom / stats.chi2.ppf(tail, freedom) - 1 for freedom in freedoms]
    total = sum(parts)
    low = total - math.hypot(*(part * each for part, each in zip(parts, below, strict=True)))
    high = total + math.hypot(*(part * each for part, each in zip(parts, above, strict=True)))
    return max(low, 0.0), high


def _select_repeated(gains: Floats) -> Floats | None:
    """Return rows with at least two measurements, or None with fewer than two rows or columns."""
    kept = gains[np.isfinite(gains).sum(axis=1) >= 2] if gains.shape[1] >= 2 else gains[:0]
    if len(kept) < 2:
        return None
    kept = kept[:, np.isfinite(kept).any(axis=0)]
    return kept if kept.shape[1] >= 2 else None


def _fit(design: Floats, values: Floats) -> tuple[float, int]:
    """Return residual sum of squares and degrees of freedom of a least-squares fit."""
    coefficients, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
    residual = values - design @ coefficients
    return float(residual @ residual), len(values) - int(rank)
