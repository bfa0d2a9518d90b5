"""A Gaussian process on descriptors of the allocation, anchored at uniform."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rankadaptor.predictor.calibration import Calibration, calibrate
from rankadaptor.predictor.descriptors import describe_values
from rankadaptor.predictor.observations import gather_observations, read_values
from rankadaptor.predictor.prediction import Floats, Prediction, Values, predict_blindly

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.space import Space

ANCHOR = 1e-6  # noise of uniform's gain, which is 0 by definition, in units of the spread squared
NOISE_SHARES = (0.02, 0.08, 0.2, 0.4, 0.8, 1.6)


@dataclass(frozen=True)
class GaussianProcessFit:
    """A fitted regressor of scikit-learn, its unit and how far to believe it."""

    regressor: Any
    spread: float
    calibration: Calibration


@dataclass(frozen=True)
class GaussianProcess:
    """A Gaussian process with a linear and a smooth kernel on the descriptors (scikit-learn).

    Kernel and noise are those of the largest marginal likelihood. Linear in the logarithm of each option, and
    of means over kinds and blocks, covers gains that add up over slots; the Matérn kernel what does not.
    Uniform stands among the observations with gain 0 and no noise.

    Attributes:
        seed: Kept for the interface; the fit is deterministic.
    """

    seed: int = 0
    fitted: GaussianProcessFit | None = dataclasses.field(default=None, repr=False, compare=False)
    name: str = dataclasses.field(default="gaussian_process", init=False)
    pretrained: bool = dataclasses.field(default=False, init=False)

    def predict(self, space: Space, values: Values) -> Prediction:
        """Predict gains; see `Predictor`."""
        array = read_values(space, values)
        fit = self.fitted
        if fit is None or not len(array):
            return predict_blindly(space, array)
        uniform = np.asarray(space.reference)[None]
        rows = describe_values(space, np.concatenate([uniform, array]))
        mean, std = fit.regressor.predict(rows, return_std=True)
        std = np.where(np.any(array != uniform, axis=1), std[1:], 0.0)
        return fit.calibration.apply((mean[1:] - mean[0]) * fit.spread, std * fit.spread)

    def update(self, space: Space, records: Sequence[Record]) -> GaussianProcess:
        """Fit kernel and noise to all records; see `Predictor`."""
        observations = gather_observations(space, records)
        count = len(observations)
        if not count:
            return dataclasses.replace(self, fitted=None)
        spread = observations.spread
        targets = np.concatenate([[0.0], observations.scale_gains(spread)])
        uniform = np.asarray(space.reference)[None]
        rows = describe_values(space, np.concatenate([uniform, observations.values]))
        fits = [
            _fit_regressor(rows, targets, np.concatenate([[ANCHOR], share / observations.counts + ANCHOR]))
            for share in (NOISE_SHARES if count > 2 else NOISE_SHARES[2:3])
        ]
        regressor = max(fits, key=lambda fit: float(fit.log_marginal_likelihood_value_))
        share = float(regressor.alpha[1:] @ observations.counts) / count
        inverse = np.linalg.inv(regressor.kernel_(rows) + np.diag(regressor.alpha))
        left_out = targets - (inverse @ targets) / np.diag(inverse)
        variance = np.maximum(1.0 / np.diag(inverse) - regressor.alpha, 0.0)
        noise = observations.noise if observations.noise is not None else float(np.sqrt(share)) * spread
        calibration = calibrate(
            observations.gains if count > 1 else np.zeros(0),
            left_out[1:] * spread if count > 1 else np.zeros(0),
            left_out_std=np.sqrt(variance[1:]) * spread,
            noise=noise,
        )
        return dataclasses.replace(self, fitted=GaussianProcessFit(regressor, spread, calibration))


def _fit_regressor(rows: Floats, targets: Floats, noise: Floats) -> Any:
    """Fit the kernel by marginal likelihood with the noise variance of each row given."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct, Matern

    linear = ConstantKernel(0.3, (1e-4, 1e2)) * DotProduct(sigma_0=0.0, sigma_0_bounds="fixed")
    smooth = ConstantKernel(0.3, (1e-4, 1e2)) * Matern(2.0, (0.5, 20.0), nu=2.5)
    regressor = GaussianProcessRegressor(
        linear + smooth, alpha=noise, optimizer="fmin_l_bfgs_b" if len(rows) > 3 else None
    )
    with warnings.catch_warnings():  # a part of the kernel that the records do not need ends at its bound
        warnings.simplefilter("ignore", ConvergenceWarning)
        return regressor.fit(rows, targets)
