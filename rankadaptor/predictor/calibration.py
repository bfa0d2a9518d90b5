"""Shrinkage of predictions, estimated from predictions of gains that were left out of the fit.

A flexible model overfits ten noisy records. Its predictions are therefore multiplied by a factor b in 0 … 1,
the share of a predicted gain that is found in records that were left out of the fit. b has the posterior

    prior:       P(b = 0) = `zero_probability`, else uniform on (0, 1]
    likelihood:  (sum of squares of  gain − b · left-out prediction)^(−n/2)
                 (normal errors of unknown variance)

and the calibrated gain f = b · g, with g ~ (mean, std) of the model, has by the laws of total expectation and
variance

    mean  E[b] · mean          variance  E[b²] · std² + Var(b) · mean²

On a setting without signal b goes to 0, and so does the spread of the predictions. They shrink towards 0, the
gain of the reference.

The residual variance is split between the noise of a measurement and the uncertainty of the model. The noise
is estimated from repeats of one allocation; without repeats, half of the residual variance counts as noise.
Where the model's own SD is too small for the other part (the members of an ensemble tend to agree too much),
it is multiplied by a factor of at most three.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rankadaptor.predictor.prediction import Floats, Prediction

GRID = np.linspace(0.0, 1.0, 41)
ZERO_PROBABILITY = 0.5
ZERO_PROBABILITY_PRETRAINED = 0.2
LARGEST_STRETCH = 3.0


@dataclass(frozen=True)
class Calibration:
    """Posterior moments of b, and the noise of one measurement.

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


def build_prior_weights(zero_probability: float = ZERO_PROBABILITY) -> Floats:
    """Return the prior weights of `GRID`; `zero_probability` is the prior probability of b = 0."""
    return np.concatenate(
        [[zero_probability], np.full(GRID.size - 1, (1.0 - zero_probability) / (GRID.size - 1))]
    )


def calibrate(
    gains: Floats,
    left_out: Floats,
    *,
    left_out_std: Floats | None = None,
    noise: float | None = None,
    zero_probability: float = ZERO_PROBABILITY,
) -> Calibration:
    """Estimate the shrinkage from predictions of gains that were left out of the fit.

    Args:
        gains: Measured gains, nats per token, shape `(n,)`.
        left_out: Predictions for them by fits that had not seen them, shape `(n,)`.
        left_out_std: Their SDs, shape `(n,)`; they explain part of the residuals, the rest counts as noise.
        noise: SD of one measurement from repeats; None estimates it from the residuals.
        zero_probability: Prior probability of b = 0, a predictor without any skill in this setting.
    """
    residuals = ((gains[None, :] - GRID[:, None] * left_out[None, :]) ** 2).sum(axis=1)
    prior = build_prior_weights(zero_probability)
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
    """Assign `count` observations to folds of nearly equal size; leave-one-out when `count <= folds`."""
    used = min(folds, count)
    return np.random.default_rng(seed).permutation(np.arange(count) % max(used, 1))
