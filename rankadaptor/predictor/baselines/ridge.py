"""Ridge regression on descriptors of the allocation, without intercept."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rankadaptor.predictor.baselines.descriptors import describe_choices
from rankadaptor.predictor.calibration import Calibration, calibrate
from rankadaptor.predictor.observations import gather_observations, read_choices
from rankadaptor.predictor.prediction import Choices, Floats, Prediction, predict_without_records

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.space import Space

PENALTIES = np.logspace(-2, 3, 26)
DRAWS = 16


@dataclass(frozen=True)
class RidgeFit:
    """The posterior of a Bayesian linear model in dual form.

    Attributes:
        descriptors: Descriptors of the observations, `(n, d)`.
        inverse: (K + penalty · I)⁻¹, `(n, n)`.
        targets: Gains in nats per token, `(n,)`.
        penalty: Ratio of noise variance to the prior variance of a coefficient.
        noise: SD of one measurement, nats per token.
        calibration: Shrinkage of its predictions.
    """

    descriptors: Floats
    inverse: Floats
    targets: Floats
    penalty: float
    noise: float
    calibration: Calibration


@dataclass(frozen=True)
class Ridge:
    """Ridge on log-ratios of the options and their means over kinds and blocks (scikit-learn).

    The penalty is the one that predicts left-out records best. The standard deviation is that of the Bayesian
    linear model with this penalty.

    Attributes:
        seed: Draws for Thompson sampling.
    """

    seed: int = 0
    fitted: RidgeFit | None = dataclasses.field(default=None, repr=False, compare=False)
    name: str = dataclasses.field(default="ridge", init=False)
    pretrained: bool = dataclasses.field(default=False, init=False)

    def predict(self, space: Space, allocations: Choices) -> Prediction:
        """Predict gains; see `Predictor`."""
        array = read_choices(space, allocations)
        fit = self.fitted
        if fit is None:
            return predict_without_records(space, array)
        rows = describe_choices(space, array)
        cross = rows @ fit.descriptors.T
        mean = cross @ (fit.inverse @ fit.targets)
        explained = np.einsum("ij,jk,ik->i", cross, fit.inverse, cross, optimize=True)
        width = fit.noise / np.sqrt(fit.penalty)
        std = width * np.sqrt(np.maximum((rows**2).sum(axis=1) - explained, 0.0))
        # Matheron's rule: a draw of the prior, corrected by its residuals at the records, is one of the
        # posterior.
        generator = np.random.default_rng(self.seed)
        prior = width * generator.standard_normal((DRAWS, rows.shape[1]))
        errors = fit.noise * generator.standard_normal((DRAWS, len(fit.targets)))
        residuals = fit.targets - prior @ fit.descriptors.T - errors
        draws = prior @ rows.T + residuals @ fit.inverse @ cross.T
        return fit.calibration.apply(mean, std, draws)

    def update(self, space: Space, records: Sequence[Record]) -> Ridge:
        """Fit all records; see `Predictor`."""
        from sklearn.linear_model import RidgeCV

        observations = gather_observations(space, records)
        if not len(observations):
            return dataclasses.replace(self, fitted=None)
        rows = describe_choices(space, observations.choices)
        spread = observations.spread
        targets = observations.scale_gains(spread)
        penalty = float(PENALTIES[len(PENALTIES) // 2])
        if len(observations) > 2:
            penalty = float(RidgeCV(alphas=PENALTIES, fit_intercept=False).fit(rows, targets).alpha_)
        inverse = np.linalg.inv(rows @ rows.T + penalty * np.eye(len(rows))).astype(np.float64)
        weights = inverse @ targets
        left_out = targets - weights / np.diag(inverse)
        noise = float(np.sqrt(max(penalty * float(targets @ weights) / len(targets), 1e-12))) * spread
        # The variance of a left-out record, noise included, is noise² / (penalty · inverse_ii).
        variance = noise**2 * (1.0 / (penalty * np.diag(inverse)) - 1.0)
        calibration = calibrate(
            observations.gains if len(rows) > 1 else np.zeros(0),
            left_out * spread if len(rows) > 1 else np.zeros(0),
            left_out_std=np.sqrt(np.maximum(variance, 0.0)),
            noise=observations.noise if observations.noise is not None else noise,
        )
        fit = RidgeFit(rows, inverse, targets * spread, penalty, noise, calibration)
        return dataclasses.replace(self, fitted=fit)
