"""Posterior over gains given the records of one search, averaged over the hyperparameters of the setting."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rankadaptor.predictor.observations import Observations
from rankadaptor.predictor.prediction import Floats
from rankadaptor.predictor.prior.hierarchy import Hierarchy
from rankadaptor.predictor.prior.layout import build_layout
from rankadaptor.predictor.prior.mixing import mix_normals, normalise_weights, whiten
from rankadaptor.predictor.prior.noise import build_noise_covariances
from rankadaptor.predictor.prior.slot_posterior import SlotPosterior, find_root

if TYPE_CHECKING:
    from rankadaptor.space import Space

SIZES = np.linspace(-2.5, 2.5, 9)  # grid of a setting's size, in SDs of its prior
NOISES = np.linspace(-2.5, 2.5, 7)
SHARED_SCALES = ((1.0, 0.75), (0.5, 0.15), (0.0, 0.10))
"""Factors on the shared weights, and their prior probabilities."""
OWN_SCALES = ((0.4, 0.25), (1.0, 0.5), (2.5, 0.25))
"""Factors on the variance of the setting's own part, and their prior probabilities."""
NO_EFFECT_SIZE, NO_EFFECT_PROBABILITY = 0.05, 0.2
"""Factor on the size of a setting whose allocations hardly differ, and the probability of such a setting."""

NUMBERS = 1 << 21
"""Entries of covariances held in memory at once while combinations are weighted."""


@dataclass(frozen=True, eq=False)
class _Grid:
    """Combinations of hyperparameters, one per row."""

    size: Floats
    noise: Floats
    shared_scale: Floats
    own_scale: Floats
    log_prior: Floats


@dataclass(frozen=True, eq=False)
class _Likelihood:
    """Likelihood of the records under each combination of a grid.

    Attributes:
        grid: The combinations.
        common: Covariance `(n, n)` of the gains by the shared weights, for a size of one.
        single: The same by the setting's own part.
        scatter: Covariance of the measurements for a noise of one.
        residuals: Gains minus their means under each combination, `(g, n)`.
        repeats: Log likelihood of the scatter between repeats, `(g,)`.
        spread: Spread of the gains, nats per token.
    """

    grid: _Grid
    common: Floats
    single: Floats
    scatter: Floats
    residuals: Floats
    repeats: Floats
    spread: float

    def compute_log_likelihoods(self) -> Floats:
        """Return log likelihoods `(g,)`, computed in chunks.

        A combination takes n² numbers: all at once would be gigabytes after a thousand records.
        """
        at_once = max(1, NUMBERS // self.common.size)
        starts = range(0, len(self.residuals), at_once)
        parts = [self.solve(slice(first, first + at_once))[0] for first in starts]
        logs: Floats = np.concatenate(parts) + self.repeats
        return logs

    def solve(self, some: slice) -> tuple[Floats, Floats, Floats]:
        """Return log likelihoods `(s,)`, Cholesky factors `(s, n, n)` and whitened residuals `(s, n)`."""
        size, noise = self.grid.size[some, None, None], self.grid.noise[some, None, None]
        shared_scale = self.grid.shared_scale[some, None, None]
        own_scale = self.grid.own_scale[some, None, None]
        covariance = size**2 * (shared_scale**2 * self.common + own_scale * self.single)
        covariance = covariance + noise**2 * self.scatter
        return whiten(covariance, self.residuals[some], spread=self.spread)


def condition(hierarchy: Hierarchy, space: Space, observations: Observations | None) -> SlotPosterior:
    """Return the posterior over the gains in a space given the records of one search.

    A setting's size and noise, the scale of the shared weights and that of its own part are averaged over a
    grid, each combination weighted by its prior and its marginal likelihood. The result is one normal
    distribution with the mean and covariance of the mixture, so that the cost of a prediction does not depend
    on the number of records.
    """
    layout, grid = build_layout(space), _build_grid(hierarchy)
    columns = np.concatenate([layout.shared, layout.own], axis=1)
    families = np.concatenate([layout.shared_families, layout.own_families])
    width, own = layout.shared.shape[1], hierarchy.own[families]
    log_weights, data, rows = grid.log_prior, None, np.zeros((0, len(own)))
    if observations is not None and len(observations):
        rows = np.concatenate(layout.build_rows(observations.choices), axis=1)
        data = _build_likelihood(hierarchy, grid, rows, own, space, observations)
        log_weights = log_weights + data.compute_log_likelihoods()
    weights = normalise_weights(log_weights)

    def build(one: int) -> tuple[Floats, Floats]:
        size, shared_scale = grid.size[one], grid.shared_scale[one]
        mean = np.zeros(columns.shape[1])
        mean[:width] = size * shared_scale * hierarchy.mean
        prior = np.diag(size**2 * grid.own_scale[one] * own)
        prior[:width, :width] += (size * shared_scale) ** 2 * hierarchy.covariance
        if data is None:
            return mean, prior
        _, factors, whitened = data.solve(slice(one, one + 1))  # computed again, to save memory
        half = np.linalg.solve(factors[0], rows @ prior)
        return mean + half.T @ whitened[0], prior - half.T @ half

    centre, covariance = mix_normals(weights, build)
    noise = float(np.sqrt((1.0 + hierarchy.reference_noise) * weights @ grid.noise**2))
    root = find_root(columns @ covariance @ columns.T)
    seen = 0 if observations is None else len(observations)
    return SlotPosterior(
        tables=layout.tables,
        mean=columns @ centre,
        root=root,
        noise=noise,
        width=hierarchy.width ** (1.0 / (1.0 + seen) ** 2),  # the width fades with records
    )


def _build_grid(hierarchy: Hierarchy) -> _Grid:
    (size, size_width), (noise, noise_width) = hierarchy.size, hierarchy.noise
    rows = []
    sizes = [(size + size_width * z, -0.5 * z**2 + np.log(1.0 - NO_EFFECT_PROBABILITY)) for z in SIZES]
    total = np.logaddexp.reduce([weight for _, weight in sizes])
    sizes = [(value, weight - total + np.log(1.0 - NO_EFFECT_PROBABILITY)) for value, weight in sizes]
    for (log_size, a), z, (shared_scale, b), (own_scale, c) in itertools.product(
        sizes, NOISES, SHARED_SCALES, OWN_SCALES
    ):
        log_noise = log_size + noise + noise_width * z
        rows.append((log_size, log_noise, shared_scale, own_scale, a - 0.5 * z**2 + np.log(b) + np.log(c)))
    # Where allocations have no effect, the noise is the same and only the gains vanish.
    for (log_size, a), z in itertools.product(sizes, NOISES):
        log_noise = log_size + noise + noise_width * z
        share = np.log(NO_EFFECT_PROBABILITY / (1.0 - NO_EFFECT_PROBABILITY))
        rows.append((log_size + np.log(NO_EFFECT_SIZE), log_noise, 1.0, 1.0, a - 0.5 * z**2 + share))
    table = np.array(rows)
    return _Grid(np.exp(table[:, 0]), np.exp(table[:, 1]), table[:, 2], table[:, 3], table[:, 4])


def _build_likelihood(
    hierarchy: Hierarchy, grid: _Grid, rows: Floats, own: Floats, space: Space, observations: Observations
) -> _Likelihood:
    shared = rows[:, : len(hierarchy.mean)]
    spread = max(observations.spread, 1e-12)
    gains = observations.scale_gains(spread) * spread
    error, reference_noise = build_noise_covariances(space, observations)
    expected = (grid.size * grid.shared_scale)[:, None] * (shared @ hierarchy.mean)
    repeats = np.zeros(len(grid.size))
    if observations.freedom and observations.order_noise is not None:
        ratio = max(observations.order_noise, 1e-12) / grid.noise
        repeats = observations.freedom * (np.log(ratio) - 0.5 * ratio**2)
    return _Likelihood(
        grid=grid,
        common=shared @ hierarchy.covariance @ shared.T,
        single=(rows * own) @ rows.T,
        scatter=error + hierarchy.reference_noise * reference_noise,
        residuals=gains - expected,
        repeats=repeats,
        spread=spread,
    )
