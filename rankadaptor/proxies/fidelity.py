"""Rank correlation of a cheap measure with full-length runs, with confidence intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankadaptor.errors import InputError
from rankadaptor.predictor.rank_agreement import compute_kendall
from rankadaptor.space import Values

SMALLEST = 4
RESAMPLES = 2000
PERMUTATIONS = 2000

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Agreement:
    """Rank correlation between a cheap measure and full-length gains in one setting.

    Attributes:
        kendall: Kendall's τ-b.
        kendall_low: Lower end of its interval.
        kendall_high: Upper end.
        spearman: Spearman's ρ.
        spearman_low: Lower end of its interval.
        spearman_high: Upper end.
        p_value: Share of shuffles with a τ at least as large: one-sided, small if the measure orders
            better than chance.
        top1_regret: Largest full-length gain minus that of the allocation with the best cheap measure,
            nats per token.
        allocations: Number of allocations compared.
        confidence: Coverage of the intervals.
    """

    kendall: float
    kendall_low: float
    kendall_high: float
    spearman: float
    spearman_low: float
    spearman_high: float
    p_value: float
    top1_regret: float
    allocations: int
    confidence: float

    def to_json(self) -> dict[str, Any]:
        """Return the figures as a JSON-like dict."""
        return asdict(self)


def judge_fidelity(
    cheap: Mapping[Values, float],
    full: Mapping[Values, float],
    *,
    confidence: float = 0.95,
    seed: int = 0,
) -> Agreement:
    """Compare a cheap measure with full-length gains over the allocations that have both.

    Intervals are percentiles of a bootstrap over allocations. Bootstrap samples have repeats, which tie in
    both measures; τ leaves tied pairs out, and ρ uses mid-ranks. In both measures more must be better;
    uniform can be among the allocations, with gain 0.

    Args:
        cheap: Gains or scores by allocation values.
        full: Full-length gains by allocation values, nats per token.
        confidence: Coverage of the intervals.
        seed: Seed of bootstrap and shuffles.

    Raises:
        InputError: If fewer than four allocations have both, or a number is not finite.
    """
    if not 0.0 < confidence < 1.0:
        raise InputError(f"confidence={confidence}: must lie between 0 and 1, for example 0.95.")
    shared = sorted(cheap.keys() & full.keys())
    if len(shared) < SMALLEST:
        raise InputError(
            f"{len(shared)} allocations have both measures, at least {SMALLEST} are needed. Measure more."
        )
    one = np.asarray([cheap[values] for values in shared], dtype=float)
    other = np.asarray([full[values] for values in shared], dtype=float)
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        raise InputError("some measures are not finite. Leave failed runs out.")
    generator = np.random.default_rng(seed)
    draws = generator.integers(len(shared), size=(RESAMPLES, len(shared)))
    kendalls = [compute_kendall(one[draw], other[draw]) for draw in draws]
    spearmans = [_compute_spearman(one[draw], other[draw]) for draw in draws]
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    kendall = compute_kendall(one, other)
    shuffled = np.asarray([compute_kendall(one, generator.permutation(other)) for _ in range(PERMUTATIONS)])
    kendall_low, kendall_high = _find_ends(kendalls, tails)
    spearman_low, spearman_high = _find_ends(spearmans, tails)
    return Agreement(
        kendall=kendall,
        kendall_low=kendall_low,
        kendall_high=kendall_high,
        spearman=_compute_spearman(one, other),
        spearman_low=spearman_low,
        spearman_high=spearman_high,
        p_value=float((1 + (shuffled >= kendall - 1e-12).sum()) / (1 + PERMUTATIONS)),
        top1_regret=float(other.max() - other[int(np.argmax(one))]),
        allocations=len(shared),
        confidence=confidence,
    )


def _compute_spearman(one: Floats, other: Floats) -> float:
    """Spearman's ρ with mid-ranks; 0 if one of the two is constant."""
    from scipy.stats import rankdata

    if np.ptp(one) == 0.0 or np.ptp(other) == 0.0:
        return 0.0
    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])


def _find_ends(drawn: Sequence[float], tails: Sequence[float]) -> tuple[float, float]:
    low, high = np.quantile(np.asarray(drawn), tails)
    return float(low), float(high)
