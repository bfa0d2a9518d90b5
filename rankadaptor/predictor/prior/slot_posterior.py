"""A Gaussian posterior over gains that are sums over slots, with fast predictions for many allocations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rankadaptor.predictor.prediction import Floats, Prediction

DRAWS = 16
CHUNK = 8192
NEGLIGIBLE = 1e-10  # share of the variance below which a direction is left out


@dataclass(frozen=True, eq=False)
class SlotPosterior:
    """gain = Σ over slots and basis functions of weight · basis(option), with normal weights.

    Attributes:
        tables: Basis functions by slot and choice, `(k, n_slots, n_options)`; 0 at the origin.
        mean: Means of the weights, nats per token, `(k · n_slots,)`.
        root: A square root of their covariance, `(k · n_slots, m)`.
        noise: SD of one measurement, nats per token.
        width: Factor on the SD and the noise that calibrates intervals. Draws are not scaled, so that it does
            not change the exploration of a search.
    """

    tables: Floats
    mean: Floats
    root: Floats
    noise: float
    width: float = 1.0

    def predict(self, choices: NDArray[np.int64], *, seed: int = 0) -> Prediction:
        """Predict the gains of choices `(n, n_slots)`, with joint draws."""
        count, (functions, slots, _) = len(choices), self.tables.shape
        columns = np.arange(slots)
        generator = np.random.default_rng(seed)
        sample = generator.standard_normal((self.root.shape[1], DRAWS))
        # Products in single precision: the rounding is far below the noise, and it halves the time.
        drawn = (self.root @ sample).astype(np.float32)
        root = self.root.astype(np.float32)
        gains = np.einsum("rsk,rs->sk", self.tables, self.mean.reshape(functions, slots))
        mean, variance = np.empty(count), np.empty(count)
        draws = np.empty((DRAWS, count))
        tables = self.tables.astype(np.float32)
        for start in range(0, count, CHUNK):
            part = choices[start : start + CHUNK]
            rows = np.concatenate([table[columns, part] for table in tables], axis=1)
            mean[start : start + CHUNK] = gains[columns, part].sum(axis=1)
            variance[start : start + CHUNK] = ((rows @ root) ** 2).sum(axis=1)
            draws[:, start : start + CHUNK] = (rows @ drawn).T
        return Prediction(
            mean=mean,
            std=np.sqrt(variance) * self.width,
            noise=self.noise * self.width,
            draws=mean + draws,
        )


def flatten_basis(tables: Floats, choices: NDArray[np.int64]) -> Floats:
    """Return the basis functions of choices `(n, n_slots)` as rows `(n, k · n_slots)`."""
    columns = np.arange(tables.shape[1])
    return np.concatenate([table[columns, choices] for table in tables], axis=1)


def find_root(covariance: Floats) -> Floats:
    """Return R with R Rᵀ = covariance `(d, d)`, without directions of negligible variance."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2.0)
    kept = values > NEGLIGIBLE * max(float(values[-1]), 1e-300)
    root: Floats = vectors[:, kept] * np.sqrt(values[kept])
    return root
