"""Gain of the best allocation without selection bias.

The best of sixty allocations that were measured once has a good effect and favourable noise. Two estimates
avoid this bias:

- **fresh**: the allocation is chosen by the screening seed alone, and its gain is estimated from its other
  seeds (Student's t over seeds). - **shrunk**: every allocation's effect is shrunk towards the mean in
  proportion to the noise, with all seeds of all allocations in one normal model (empirical Bayes, James and
  Stein). The best allocation has the highest shrunken effect. The estimate is averaged over the uncertainty
  of the true spread. If gains are strongly skewed downwards, the spread is estimated from their better half,
  because a few very bad allocations do not inform about possible gains.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.evidence.components import CONFIDENCE, SMALLEST_SAMPLE, Components
from experiments.evidence.observations import Gains
from rankadaptor.space import Values
from rankadaptor.verdict import judge_gains

Floats = NDArray[np.float64]

FEWEST_FRESH = 3
SKEWED = 0.5
"""If the better half of the gains has less than this share of the variance, it alone gives the width of the
prior."""
FAR_BELOW = 3.0
"""Allocations more than this many SDs of the better half below the median are excluded from the shrinkage."""
PRIOR_QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Quantiles of the distribution of the prior width, over which the posterior is averaged."""


@dataclass(frozen=True)
class Estimate:
    """A gain over uniform in nats per token with its 95 % interval.

    Attributes:
        gain: The estimate.
        low: Lower end.
        high: Upper end.
        p_value: One-sided p-value of the gain; for a shrunken gain, at least the p-value of the spread.
        seeds: Number of seeds it is estimated from.
        values: The allocation.
        source: `fresh` or `shrunk`.
        differ: Whether allocations, or the better half that gave the width of the prior, differ beyond the
            noise; otherwise a shrunken gain is not informative. Always True for fresh seeds.
    """

    gain: float
    low: float
    high: float
    p_value: float
    seeds: int
    values: Values
    source: str
    differ: bool = True


@dataclass(frozen=True)
class Winner:
    """The best allocation of a setting.

    Attributes:
        screened: Highest gain under the screening seed, with selection bias, nats per token.
        screened_values: The allocation that had it.
        fresh: Gain on fresh seeds of the best repeated allocation, chosen by the screening seed; None without
            `FEWEST_FRESH` seeds.
        shrunk: Highest shrunken effect; None without repeats.
    """

    screened: float
    screened_values: Values
    fresh: Estimate | None
    shrunk: Estimate | None

    @property
    def estimate(self) -> Estimate | None:
        """The estimate to use: fresh seeds if the best allocation has them, otherwise the shrunken one."""
        if self.fresh is not None and (self.fresh.values == self.screened_values or self.shrunk is None):
            return self.fresh
        return self.shrunk


def find_winner(gains: Gains, components: Components) -> Winner | None:
    """Return the best allocation with unbiased estimates of its gain; None without measurements."""
    if not gains.screened.any():
        return None
    column = np.where(gains.screened, gains.gains[:, gains.screen], -np.inf)
    best = int(np.argmax(column))
    return Winner(
        screened=float(column[best]),
        screened_values=_name(gains, best),
        fresh=_estimate_fresh(gains),
        shrunk=_estimate_shrunk(gains, components),
    )


def _estimate_fresh(gains: Gains) -> Estimate | None:
    others = np.delete(gains.gains, gains.screen, axis=1)
    repeated = (np.isfinite(others).sum(axis=1) >= FEWEST_FRESH) & gains.screened
    if not repeated.any():
        return None
    best = int(np.argmax(np.where(repeated, gains.gains[:, gains.screen], -np.inf)))
    measured = others[best][np.isfinite(others[best])]
    judged = judge_gains(measured.tolist(), confidence=CONFIDENCE)
    if judged.gain is None or judged.low is None or judged.high is None:
        return None
    from scipy import stats

    error = float(measured.std(ddof=1)) / math.sqrt(len(measured))
    chance = float(stats.t.sf(judged.gain / error, len(measured) - 1)) if error > 0 else 0.0
    return Estimate(judged.gain, judged.low, judged.high, chance, len(measured), _name(gains, best), "fresh")


def _estimate_shrunk(gains: Gains, components: Components) -> Estimate | None:
    """Return the highest posterior mean of an allocation's gain, with its posterior interval."""
    if components.rest is None or components.shared is None or components.observed is None:
        return None
    if components.rest <= 0:
        return None
    from scipy import stats

    rest, observed = components.rest**2, components.observed**2
    column = gains.screened_gains
    median = float(np.median(column))
    upper = column[column > median]
    width = float(((upper - median) ** 2).mean()) if len(upper) else observed
    skewed = width <= SKEWED * observed
    if not skewed:
        width = observed
    kept = np.nanmean(gains.gains, axis=1) >= median - FAR_BELOW * math.sqrt(width)
    if kept.sum() < SMALLEST_SAMPLE:
        return None
    freedom = (len(upper) if skewed else len(column) - 1, components.rest_freedom)
    priors = [max(width / stats.f.ppf(quantile, *freedom) - rest, 0.0) for quantile in PRIOR_QUANTILES]
    shared = components.shared**2
    mean, variance = _average_posterior(gains.gains[kept], priors=priors, shared=shared, rest=rest)
    best = int(np.argmax(mean))
    gain, scale = float(mean[best]), math.sqrt(variance[best])
    if scale == 0:
        return None
    # The seed term is estimated from few seeds, so it has few degrees of freedom (Satterthwaite).
    without = _average_posterior(gains.gains[kept], priors=priors, shared=0.0, rest=rest)[1][best]
    from_seeds = max(scale**2 - without, 0.0)
    scatter = from_seeds**2 / max(components.seeds - 1, 1) + without**2 / components.rest_freedom
    known = max(scale**4 / scatter, 1.0)
    no_spread = float(stats.f.sf(width / rest, *freedom))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, known)) * scale
    return Estimate(
        gain=gain,
        low=gain - half,
        high=gain + half,
        p_value=max(float(stats.t.sf(gain / scale, known)), no_spread),
        seeds=int(np.isfinite(gains.gains[kept][best]).sum()),
        values=_name(gains, int(np.flatnonzero(kept)[best])),
        source="shrunk",
        differ=no_spread <= 1 - CONFIDENCE,
    )


def _average_posterior(
    gains: Floats, *, priors: Sequence[float], shared: float, rest: float
) -> tuple[Floats, Floats]:
    """Return posterior mean and variance averaged over widths of the prior, both `(n,)`."""
    posteriors = [_compute_posterior(gains, prior=prior, shared=shared, rest=rest) for prior in priors]
    means = np.array([mean for mean, _ in posteriors])
    variances = np.array([variance for _, variance in posteriors])
    return means.mean(axis=0), variances.mean(axis=0) + means.var(axis=0)


def _compute_posterior(gains: Floats, *, prior: float, shared: float, rest: float) -> tuple[Floats, Floats]:
    """Return posterior mean and variance of each row's gain (mean + allocation), both `(n,)`.

    Args:
        gains: `(n, k)`, NaN where not measured.
        prior: Variance of the allocations' effects.
        shared: Variance of the seeds' effects.
        rest: Variance of the residual.
    """
    known = np.isfinite(gains)
    rows, columns = np.nonzero(known)
    values = gains[known]
    same_row = (rows[:, None] == rows[None, :]).astype(np.float64)
    same_column = (columns[:, None] == columns[None, :]).astype(np.float64)
    covariance = prior * same_row + shared * same_column + rest * np.eye(len(values))
    cross = prior * (np.arange(len(gains))[:, None] == rows[None, :])
    ones = np.ones(len(values))
    solved = np.linalg.solve(covariance, np.column_stack([values, ones, cross.T]))
    weight = float(ones @ solved[:, 1])
    centre = float(ones @ solved[:, 0]) / weight
    mean = centre + cross @ (solved[:, 0] - centre * solved[:, 1])
    lost = 1.0 - cross @ solved[:, 1]  # the overall mean is estimated too
    variance = prior - np.einsum("ij,ji->i", cross, solved[:, 2:]) + lost**2 / weight
    return mean, np.maximum(variance, 0.0)


def _name(gains: Gains, row: int) -> Values:
    return tuple(int(value) for value in gains.values[row])
