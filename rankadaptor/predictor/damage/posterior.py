"""The Gaussian posterior of a model of damage given records.

The linear part has Gaussian priors; the rest r is a Gaussian process over the same features, which makes
neighbours of a measured allocation start from what was measured. Sizes are chosen by marginal likelihood.
Records of lower fidelity (few tokens) have a common offset and a noise of their own.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankadaptor.predictor.damage.prior import DamagePrior
from rankadaptor.predictor.prediction import Floats
from rankadaptor.space.tables import compute_keys

Singles = NDArray[np.float32]

LENGTH = 0.05
"""Distance over which the rest varies: what the linear part says two allocations may differ by in ln D."""
EXACT = 0.003
"""SD in ln D that a measurement of full fidelity is taken to have."""
OFFSET, COARSE = 0.3, 0.1
"""Prior SD of the offset and SD of the noise of a measurement of a quarter of the tokens."""


@dataclass(frozen=True, eq=False)
class Posterior:
    """What records say about the features' coefficients and the rest.

    Attributes:
        shared: Features of the records that slots share, `(n, k)`, times their prior SD.
        own: Features of single slots, `(n, m)`, times their prior SD.
        size: Prior SD of single slots' coefficients.
        rest: Prior SD of the smooth rest.
        factor: Lower Cholesky factor of the records' covariance, `(n, n)`.
        weights: Covariance⁻¹ · residuals, `(n,)`.
        known: Choices of full fidelity → damage.
        keys: Numbers that stand for these choices.
    """

    shared: Singles
    own: Singles
    size: float
    rest: float
    factor: Floats
    weights: Floats
    known: dict[tuple[int, ...], float]
    keys: NDArray[np.uint64]

    def correct(self, shared: Singles, own: Singles) -> tuple[Floats, Floats]:
        """Return mean and SD of ln D less its prior mean, `(n,)` each, from features times their prior SD.

        Features of single slots are in units of `size`.
        """
        own = own * np.float32(self.size)
        variance = (shared**2).sum(axis=1) + (own**2).sum(axis=1)
        linear = shared @ self.shared.T + own @ self.own.T
        norms = (self.shared**2).sum(axis=1) + (self.own**2).sum(axis=1)
        cross = add_rest(linear, variance, norms, rest=self.rest)
        explained = cross @ _invert(self.factor).T
        spread = np.maximum(variance + self.rest**2 - (explained**2).sum(axis=1), 0.0)
        mean: Floats = cross @ self.weights.astype(np.float32)
        return mean, np.sqrt(spread.astype(np.float64))


def condition(
    shared: Singles,
    own: Singles,
    residuals: Floats,
    errors: Floats,
    known: dict[tuple[int, ...], float],
    *,
    prior: DamagePrior,
) -> Posterior:
    """Choose the prior's sizes by marginal likelihood and condition on the records."""
    from scipy.linalg import cho_solve

    keys = compute_keys(np.array(list(known), dtype=np.int64))
    best: tuple[float, Posterior] | None = None
    for size, rest in itertools.product(prior.own, prior.rest):
        factor = factorise(shared, own, errors, size=size, rest=rest)
        weights = cho_solve((factor, True), residuals)
        evidence = -0.5 * float(residuals @ weights) - float(np.log(np.diag(factor)).sum())
        if best is None or evidence > best[0]:
            scaled = (own * np.float32(size)).astype(np.float32)
            best = evidence, Posterior(shared, scaled, size, rest, factor, weights, known, keys)
    assert best is not None
    return best[1]


def describe_errors(fidelities: Floats) -> Floats:
    """Return the covariance of measurement errors in ln D, `(n, n)`, from shares of the full fidelity."""
    scarce = np.sqrt(np.maximum(1.0 / np.maximum(fidelities, 1e-3) - 1.0, 0.0) / 3.0)
    same = fidelities[:, None] == fidelities
    offset = OFFSET**2 * same * np.minimum(scarce[:, None] * scarce, 1.0)
    covariance: Floats = offset + np.diag((COARSE * scarce) ** 2 + EXACT**2)
    return covariance


def factorise(shared: Singles, own: Singles, errors: Floats, *, size: float, rest: float) -> Floats:
    """Return the lower Cholesky factor of the records' covariance, `(n, n)`.

    Products of features are in single precision. Where many records lie within `LENGTH` of one another, its
    rounding errors may exceed the smallest eigenvalue; they are then in double precision.
    """
    from scipy.linalg import LinAlgError, cholesky

    for precision in (np.float32, np.float64):
        first: NDArray[Any] = shared.astype(precision)
        second: NDArray[Any] = own.astype(precision)
        grams = [np.matmul(part, part.T).astype(np.float64) for part in (first, second)]
        linear = grams[0] + size**2 * grams[1]
        norms = np.diag(linear)
        covariance = add_rest(linear, norms, norms, rest=rest) + errors
        try:
            factor: Floats = cholesky(covariance + 1e-8 * np.eye(len(covariance)), lower=True)
        except LinAlgError:
            if precision is np.float64:
                raise
        else:
            return factor
    raise AssertionError("unreachable: double precision returns or raises")


def add_rest(linear: Any, first: Any, second: Any, *, rest: float) -> Any:
    """Add the covariance of the smooth rest to that of the linear part."""
    distance = np.maximum(first[:, None] + second - 2.0 * linear, 0.0)
    return linear + rest**2 * np.exp(distance * (-0.5 / LENGTH**2))


def _invert(factor: Floats) -> Singles:
    from scipy.linalg import solve_triangular

    inverse: Singles = solve_triangular(factor, np.eye(len(factor)), lower=True).astype(np.float32)
    return inverse
