"""Mixtures of normal distributions over hyperparameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from rankadaptor.predictor.prediction import Floats

KEPT = 1e-3


def normalise_weights(log_weights: Floats) -> Floats:
    """Return weights that sum to 1; those below a thousandth of the largest become 0."""
    weights = np.exp(log_weights - log_weights.max())
    weights = np.where(weights > KEPT * weights.max(), weights, 0.0)
    normalised: Floats = weights / weights.sum()
    return normalised


def mix_normals(weights: Floats, build: Callable[[int], tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """Return mean and covariance of a mixture, by the laws of total expectation and variance.

    Args:
        weights: `(k,)`, summing to 1.
        build: Returns mean `(d,)` and covariance `(d, d)` of a component; called for weights above 0.
    """
    kept: Sequence[int] = np.flatnonzero(weights).tolist()
    means = []
    covariance: Floats | float = 0.0
    for part in kept:
        mean, scatter = build(part)
        means.append(mean)
        covariance = covariance + weights[part] * scatter
    stacked = np.array(means)
    centre = weights[kept] @ stacked
    apart = (stacked - centre) * np.sqrt(weights[kept])[:, None]
    return centre, covariance + apart.T @ apart


def whiten(
    covariances: Floats, residuals: Floats, *, spread: NDArray[np.float64] | float = 1.0
) -> tuple[Floats, Floats, Floats]:
    """Return log likelihoods `(k,)`, factors `(k, n, n)` and whitened residuals `(k, n)`.

    Args:
        covariances: `(k, n, n)`.
        residuals: `(k, n)`.
        spread: Unit of the jitter on the diagonal.
    """
    jitter = 1e-8 * np.square(spread) * np.eye(covariances.shape[1])
    factors = np.linalg.cholesky(covariances + jitter).astype(np.float64)
    whitened = np.linalg.solve(factors, residuals[:, :, None])[:, :, 0].astype(np.float64)
    logs: Floats = -0.5 * (whitened**2).sum(axis=1) - np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(
        axis=1
    )
    return logs, factors, whitened
