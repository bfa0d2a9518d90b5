"""Mean gain over several settings, with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from rankadaptor.errors import InputError
from rankadaptor.verdict import Judgement, Outcome


def pool_gains(groups: Sequence[Sequence[float]], *, confidence: float = 0.95) -> Judgement:
    """Judge the mean over settings of their mean paired gains.

    Settings have equal weights and separate noise variances; the degrees of freedom follow Welch and
    Satterthwaite [Satterthwaite]_. The interval holds for these settings: it does not include the variation
    between settings.

    Args:
        groups: Paired gains, nats per token, one group per setting, two or more in each.
        confidence: Coverage of the two-sided interval, in (0, 1).

    Raises:
        InputError: If a group has fewer than two gains, or there is no group.
    """
    if not groups or any(len(group) < 2 for group in groups):
        raise InputError(
            f"{len(groups)} settings with {[len(group) for group in groups]} paired gains: at least one "
            "setting, and two gains in each, are needed. Leave out what was not measured."
        )
    from scipy import stats

    gain = float(np.mean([np.mean(group) for group in groups]))
    squares = [float(np.var(group, ddof=1)) / len(group) for group in groups]  # equal gains: no noise
    total = sum(squares)
    count = sum(len(group) for group in groups)
    half = 0.0
    if total > 0.0:
        parts = [square**2 / (len(group) - 1) for square, group in zip(squares, groups, strict=True)]
        freedom = total**2 / sum(parts)
        half = float(stats.t.ppf((1 + confidence) / 2, freedom)) * math.sqrt(total) / len(groups)
    low, high = gain - half, gain + half
    outcome: Outcome = "better" if low > 0 else "worse" if high < 0 else "no difference"
    return Judgement(outcome, gain, low, high, None, confidence, count)
