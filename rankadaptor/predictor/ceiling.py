"""The noise ceiling: the rank correlation that a perfect predictor would have with noisy measurements."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rankadaptor.predictor.observations import Observations
from rankadaptor.predictor.prediction import Floats
from rankadaptor.predictor.rank_agreement import compute_kendall

DRAWS = 200
SIGNIFICANCE = 0.01  # of the F test for a difference between allocations
PAIRS = 1 << 20  # signs of pairs held in memory at once


@dataclass(frozen=True)
class Ceiling:
    """The noise ceiling of one setting.

    Attributes:
        kendall: Kendall's τ between the true gains and measurements as noisy as these; 0 if noise explains
            all differences, None without repeats.
        noise: SD of one measurement around the true gain, without the noise of the reference, nats per token;
            None without repeats.
        spread: SD of the measured gains, nats per token.
        signal: Whether allocations differ by more than noise (F test at 1 %); None without repeats.
    """

    kendall: float | None
    noise: float | None
    spread: float
    signal: bool | None


def find_ceiling(observations: Observations, *, seed: int = 0) -> Ceiling:
    """Estimate the ceiling of a setting from its repeats.

    The measured gains, shrunk towards their mean until their variance is the variance without noise, stand
    for the true gains, and measurements are simulated from them. Unlike a formula for normal distributions,
    this keeps the shape of the distribution: a few extreme allocations and many near ties.
    """
    gains, noise = observations.gains, observations.order_noise
    spread = float(gains.std(ddof=1)) if gains.size > 1 else 0.0
    if noise is None or gains.size < 3:
        return Ceiling(None, noise, spread, None)
    errors = noise / np.sqrt(observations.counts)
    mean_square = float(np.mean(errors**2))
    reliability = max(0.0, 1.0 - mean_square / spread**2) if spread > 0.0 else 0.0
    signal = _differs(spread**2 / max(mean_square, 1e-300), gains.size - 1, observations.freedom)
    if reliability == 0.0:
        return Ceiling(0.0, noise, spread, signal)
    truth = gains.mean() + np.sqrt(reliability) * (gains - gains.mean())
    generator = np.random.default_rng(seed)
    reached = [
        compute_kendall(truth, truth + errors * generator.standard_normal(gains.size)) for _ in range(DRAWS)
    ]
    return Ceiling(float(np.mean(reached)), noise, spread, signal)


def _differs(ratio: float, between: int, within: int) -> bool:
    from scipy.stats import f

    return bool(f.sf(ratio, between, max(within, 1)) < SIGNIFICANCE)


def compare_with_ceiling(kendall: float, ceiling: float | None) -> float | None:
    """Return the share of the ceiling that was reached; None where there is none to reach."""
    return kendall / ceiling if ceiling else None


def simulate_null(
    predicted: list[Floats], measured: Floats, rows: list[NDArray[np.int64]], *, count: int, seed: int
) -> Floats:
    """Return the mean τ of predictions `predicted[d]` of rows `rows[d]` with shuffled gains, `(count,)`.

    All draws `d` use the same shuffle, so that overlapping draws do not count as independent evidence.
    """
    generator = np.random.default_rng(seed)
    shuffled = np.stack([generator.permutation(measured) for _ in range(count)])
    total = np.zeros(count)
    for each, chosen in zip(predicted, rows, strict=True):
        signs = np.sign(each[:, None] - each[None, :]).astype(np.float32)
        at_once = max(1, PAIRS // max(signs.size, 1))
        for first in range(0, count, at_once):
            part = slice(first, first + at_once)
            gains = shuffled[part, chosen]
            others = np.sign(gains[:, :, None] - gains[:, None, :]).astype(np.float32)
            norms = np.sqrt((signs**2).sum() * (others**2).sum(axis=(1, 2)))
            total[part] += np.einsum("ij,kij->k", signs, others) / np.maximum(norms, 1e-12)
    null: Floats = total / max(len(predicted), 1)
    return null
