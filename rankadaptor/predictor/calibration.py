"""How far a predictor may be believed, from the gains it predicted without having seen them.

A flexible model fitted to ten noisy records always finds something. What it finds is multiplied by a factor b
in 0 … 1: how much of a predicted gain showed up in records that were left out of the fit. b is not known
exactly either; its belief is

    prior:       P(b = 0) = `sceptic`, else uniform on (0, 1]
    likelihood:  (sum of squares of  gain − b · left-out prediction)^(−n/2)      (normal errors of unknown
        size)

and the calibrated gain f = b · g, with g ~ (mean, std) of the model, has by the laws of total expectation and
variance

    mean  E[b] · mean          variance  E[b²] · std² + Var(b) · mean²

On a setting without signal b goes to 0, and the predicted spread with it. The origin is uniform, whose gain
is 0.

What b leaves unexplained is split between the noise of a measurement and what the model does not know.
Repeats of one allocation tell the noise; without them half is taken for noise. Where a model's own SD is too
small for its part (the members of an ensemble tend to agree too much) it is stretched, at most threefold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rankadaptor.predictor.prediction import Floats, Prediction

GRID = np.linspace(0.0, 1.0, 41)
SCEPTIC = 0.5
SCEPTIC_PRETRAINED = 0.2
LARGEST_STRETCH = 3.0


@dataclass(frozen=True)
class Calibration:
    """The belief about b, and the noise of one measurement.

    Attributes:
        factor: E[b].
        factor_square: E[b²].
        noise: SD of one measurement, nats per token; 0 when unknown.
        stretch: Factor on the model's own SD.
    """

    factor: float
    factor_square: float
    noise: float = 0.0
    stretch: float = 1.0

    def apply(self, mean: Floats, std: Floats, draws: Floats | None = None) -> Prediction:
        """Shrink raw means and SDs, shape `(n,)`, and raw draws, shape `(k, n)`."""
        variance = (
            self.factor_square * (self.stretch * std) ** 2 + (self.factor_square - self.factor**2) * mean**2
        )
        return Prediction(
            mean=self.factor * mean,
            std=np.sqrt(np.maximum(variance, 0.0)),
            noise=self.noise,
            draws=None if draws is None else self.factor * draws,
        )


def weigh_prior(sceptic: float = SCEPTIC) -> Floats:
    """Return the prior weights of `GRID`; `sceptic` is the prior probability of b = 0."""
    return np.concatenate([[sceptic], np.full(GRID.size - 1, (1.0 - sceptic) / (GRID.size - 1))])


def calibrate(
    gains: Floats,
    left_out: Floats,
    *,
    left_out_std: Floats | None = None,
    noise: float | None = None,
    sceptic: float = SCEPTIC,
) -> Calibration:
    """Judge predictions of gains that were left out of the fit.

    Args:
        gains: Measured gains, nats per token, shape `(n,)`.
        left_out: Predictions for them by fits that had not seen them, shape `(n,)`.
        left_out_std: Their SDs, shape `(n,)`; they explain part of the residuals, the rest counts as noise.
        noise: SD of one measurement where repeats tell it; otherwise it is taken from the residuals.
        sceptic: Prior probability that the predictor knows nothing here.
    """
    residuals = ((gains[None, :] - GRID[:, None] * left_out[None, :]) ** 2).sum(axis=1)
    prior = weigh_prior(sceptic)
    if gains.size < 2 or residuals.max() == 0.0:
        weights = prior
    else:
        tiny = 1e-12 * float((gains**2).sum() or 1.0)
        logits = np.log(prior + 1e-300) - 0.5 * gains.size * np.log(residuals + tiny)
        weights = np.exp(logits - logits.max())
        weights /= weights.sum()
    factor, square = float(weights @ GRID), float(weights @ GRID**2)
    unexplained = float(weights @ residuals) / max(gains.size, 1)
    declared = square * float(np.mean(left_out_std**2)) if left_out_std is not None and gains.size else 0.0
    unknown = unexplained / 2.0 if noise is None else max(unexplained - noise**2, 0.0)
    stretch = float(np.sqrt(np.clip(unknown / declared, 1.0, LARGEST_STRETCH**2))) if declared > 0.0 else 1.0
    if noise is None:
        noise = float(np.sqrt(max(unexplained - declared * stretch**2, unexplained / 4.0)))
    return Calibration(factor=factor, factor_square=square, noise=noise, stretch=stretch)


def assign_folds(count: int, *, folds: int, seed: int) -> NDArray[np.int64]:
    """Deal `count` observations into folds of nearly equal size; leave-one-out when `count <= folds`."""
    used = min(folds, count)
    return np.random.default_rng(seed).permutation(np.arange(count) % max(used, 1))
