"""Rank correlations and regret."""

from __future__ import annotations

import numpy as np

from rankadaptor.predictor.prediction import Floats


def compute_kendall(first: Floats, second: Floats) -> float:
    """Kendall's τ-b of two arrays `(n,)`; 0 if one of them is constant."""
    one = np.sign(first[:, None] - first[None, :])
    other = np.sign(second[:, None] - second[None, :])
    pairs = float(np.sqrt((one**2).sum() * (other**2).sum()))
    return float((one * other).sum()) / pairs if pairs else 0.0


def compute_spearman(first: Floats, second: Floats) -> float:
    """Spearman's ρ of two arrays `(n,)`; 0 if one of them is constant."""
    from scipy.stats import spearmanr

    if np.ptp(first) == 0.0 or np.ptp(second) == 0.0:
        return 0.0
    return float(spearmanr(first, second).statistic)


def compute_regret(predicted: Floats, measured: Floats, *, top: int) -> float:
    """Measured gain of the best allocation less that of the best among the `top` predicted ones."""
    chosen = np.argsort(-predicted, kind="stable")[:top]
    return float(measured.max() - measured[chosen].max())
