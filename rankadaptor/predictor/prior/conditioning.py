"""What a prior makes of the records of one search, averaged over all that it does not know for certain."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rankadaptor.predictor.observations import Observations
from rankadaptor.predictor.prediction import Floats
from rankadaptor.predictor.prior.hierarchy import Hierarchy
from rankadaptor.predictor.prior.layout import lay_out
from rankadaptor.predictor.prior.mixing import mix, weigh, whiten
from rankadaptor.predictor.prior.noise import describe_noise
from rankadaptor.predictor.prior.slot_posterior import SlotPosterior, find_root

if TYPE_CHECKING:
    from rankadaptor.space import Space

SIZES = np.linspace(-2.5, 2.5, 9)  # SDs of the prior of a setting's size
NOISES = np.linspace(-2.5, 2.5, 7)
TRUST = ((1.0, 0.75), (0.5, 0.15), (0.0, 0.10))  # factor on the shared weights, and its prior probability
FREEDOM = ((0.4, 0.25), (1.0, 0.5), (2.5, 0.25))  # factor on the variance of the setting's own part
QUIET, QUIET_SHARE = 0.05, 0.2  # a setting in which ranks hardly matter: its size, and how likely it is

NUMBERS = 1 << 21  # held at once while combinations are weighed


@dataclass(frozen=True, eq=False)
class _Grid:
    """Combinations of what is not known, one per row."""

    size: Floats
    noise: Floats
    trust: Floats
    freedom: Floats
    log_prior: Floats


@dataclass(frozen=True, eq=False)
class _Told:
    """What the records say under each combination of a grid.

    Attributes:
        grid: The combinations.
        common: Covariance `(n, n)` of the gains by the shared weights, for a size of one.
        single: The same by the setting's own part.
        scatter: Covariance of the measurements for a noise of one.
        residuals: Gains less what each combination expects, `(g, n)`.
        repeats: Log likelihood of the noise between repeats, `(g,)`.
        spread: Of the gains.
    """

    grid: _Grid
    common: Floats
    single: Floats
    scatter: Floats
    residuals: Floats
    repeats: Floats
    spread: float

    def weigh(self) -> Floats:
        """Return log likelihoods `(g,)`, a few combinations at a time.

        Each takes n² numbers: all at once would be gigabytes after a thousand records.
        """
        at_once = max(1, NUMBERS // self.common.size)
        starts = range(0, len(self.residuals), at_once)
        parts = [self.solve(slice(first, first + at_once))[0] for first in starts]
        logs: Floats = np.concatenate(parts) + self.repeats
        return logs

    def solve(self, some: slice) -> tuple[Floats, Floats, Floats]:
        """Return log likelihoods `(s,)`, Cholesky factors `(s, n, n)` and whitened residuals `(s, n)`."""
        size, noise = self.grid.size[some, None, None], self.grid.noise[some, None, None]
        trust, freedom = self.grid.trust[some, None, None], self.grid.freedom[some, None, None]
        covariance = size**2 * (trust**2 * self.common + freedom * self.single)
        covariance = covariance + noise**2 * self.scatter
        return whiten(covariance, self.residuals[some], spread=self.spread)


def condition(hierarchy: Hierarchy, space: Space, observations: Observations | None) -> SlotPosterior:
    """Return the belief about a space's gains after the records of one search.

    A setting's size and noise, how far it follows the shared weights and how far it goes its own way are
    averaged over a grid, each combination weighted by its prior and its marginal likelihood. The result is
    one normal law with the mixture's mean and covariance, so that asking it costs the same whatever was seen.
    """
    layout, grid = lay_out(space), _lay_grid(hierarchy)
    columns = np.concatenate([layout.shared, layout.own], axis=1)
    families = np.concatenate([layout.shared_families, layout.own_families])
    width, own = layout.shared.shape[1], hierarchy.own[families]
    log_weights, data, rows = grid.log_prior, None, np.zeros((0, len(own)))
    if observations is not None and len(observations):
        rows = np.concatenate(layout.build_rows(observations.choices), axis=1)
        data = _gather(hierarchy, grid, rows, own, space, observations)
        log_weights = log_weights + data.weigh()
    weights = weigh(log_weights)

    def build(one: int) -> tuple[Floats, Floats]:
        size, trust = grid.size[one], grid.trust[one]
        mean = np.zeros(columns.shape[1])
        mean[:width] = size * trust * hierarchy.mean
        prior = np.diag(size**2 * grid.freedom[one] * own)
        prior[:width, :width] += (size * trust) ** 2 * hierarchy.covariance
        if data is None:
            return mean, prior
        _, factors, whitened = data.solve(slice(one, one + 1))  # again, rather than kept for all
        half = np.linalg.solve(factors[0], rows @ prior)
        return mean + half.T @ whitened[0], prior - half.T @ half

    centre, covariance = mix(weights, build)
    noise = float(np.sqrt((1.0 + hierarchy.luck) * weights @ grid.noise**2))
    root = find_root(columns @ covariance @ columns.T)
    told = 0 if observations is None else len(observations)
    return SlotPosterior(
        tables=layout.tables,
        mean=columns @ centre,
        root=root,
        noise=noise,
        width=hierarchy.width ** (1.0 / (1.0 + told) ** 2),  # four records tell a setting's size themselves
    )


def _lay_grid(hierarchy: Hierarchy) -> _Grid:
    (size, size_width), (noise, noise_width) = hierarchy.size, hierarchy.noise
    rows = []
    sizes = [(size + size_width * z, -0.5 * z**2 + np.log(1.0 - QUIET_SHARE)) for z in SIZES]
    total = np.logaddexp.reduce([weight for _, weight in sizes])
    sizes = [(value, weight - total + np.log(1.0 - QUIET_SHARE)) for value, weight in sizes]
    for (log_size, a), z, (trust, b), (freedom, c) in itertools.product(sizes, NOISES, TRUST, FREEDOM):
        log_noise = log_size + noise + noise_width * z
        rows.append((log_size, log_noise, trust, freedom, a - 0.5 * z**2 + np.log(b) + np.log(c)))
    # Without an effect of ranks the noise is what it would be with one; only the gains are gone.
    for (log_size, a), z in itertools.product(sizes, NOISES):
        log_noise = log_size + noise + noise_width * z
        share = np.log(QUIET_SHARE / (1.0 - QUIET_SHARE))
        rows.append((log_size + np.log(QUIET), log_noise, 1.0, 1.0, a - 0.5 * z**2 + share))
    table = np.array(rows)
    return _Grid(np.exp(table[:, 0]), np.exp(table[:, 1]), table[:, 2], table[:, 3], table[:, 4])


def _gather(
    hierarchy: Hierarchy, grid: _Grid, rows: Floats, own: Floats, space: Space, observations: Observations
) -> _Told:
    shared = rows[:, : len(hierarchy.mean)]
    spread = max(observations.spread, 1e-12)
    gains = observations.scale_gains(spread) * spread
    error, luck = describe_noise(space, observations)
    expected = (grid.size * grid.trust)[:, None] * (shared @ hierarchy.mean)
    repeats = np.zeros(len(grid.size))
    if observations.freedom and observations.order_noise is not None:
        ratio = max(observations.order_noise, 1e-12) / grid.noise
        repeats = observations.freedom * (np.log(ratio) - 0.5 * ratio**2)
    return _Told(
        grid=grid,
        common=shared @ hierarchy.covariance @ shared.T,
        single=(rows * own) @ rows.T,
        scatter=error + hierarchy.luck * luck,
        residuals=gains - expected,
        repeats=repeats,
        spread=spread,
    )
