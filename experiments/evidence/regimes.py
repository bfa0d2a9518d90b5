"""Decide whether allocation matters in a setting, by the same rule for all settings.

**Allocation matters** in a setting if the interval of its best allocation's gain, without selection bias,
lies above zero, and the gain is at least `SMALLEST_SHARE` of the loss that recovery with uniform wins back.
Otherwise the decision is **use uniform**, with a reason. Without repeats the noise is unknown, and the
setting is **undecided**.

If the true gain is zero, a two-sided 95 % interval lies above zero in one setting of forty. With many
settings some will, so each decision is also corrected for multiple testing (Holm's step-down method,
family-wise level 5 %).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from experiments.evidence.components import CONFIDENCE
from experiments.evidence.winners import Winner

SMALLEST_SHARE = 0.01
FALSE_RATE = (1 - CONFIDENCE) / 2
FALSE_SPREAD = 1 - CONFIDENCE
WORDS = ("allocation matters", "use uniform", "undecided")


@dataclass(frozen=True)
class Regime:
    """The decision for a setting.

    Attributes:
        word: One of `WORDS`.
        reason: A short reason without figures.
        recovered: Loss of the pruned model minus loss of uniform, nats per token; None if not known.
        share: The best allocation's gain as a share of it; None if not known.
        share_low: The same for the lower end of the interval.
        share_high: The same for the upper end.
    """

    word: str
    reason: str
    recovered: float | None = None
    share: float | None = None
    share_low: float | None = None
    share_high: float | None = None


def decide_regime(winner: Winner | None, *, pruned_loss: float | None, loss_uniform: float | None) -> Regime:
    """Apply the rule to one setting; losses in nats per token."""
    if winner is None:
        return Regime("undecided", "no allocation measured")
    recovered = None
    if pruned_loss is not None and loss_uniform is not None and pruned_loss > loss_uniform:
        recovered = pruned_loss - loss_uniform
    estimate = winner.estimate
    if estimate is None:
        return Regime("undecided", "not repeated over seeds", recovered)
    if recovered is None:
        return Regime("undecided", "not known what uniform recovers")
    share, low, high = (value / recovered for value in (estimate.gain, estimate.low, estimate.high))
    if low <= 0:
        word, reason = "use uniform", "interval includes zero" if high > 0 else "worse than uniform"
    elif not estimate.differ:
        word, reason = "use uniform", "allocations do not differ beyond the noise"
    elif share < SMALLEST_SHARE:
        word, reason = "use uniform", "significant, but too small"
    else:
        word, reason = "allocation matters", "significant and large enough"
    return Regime(word, reason, recovered, share, low, high)


def correct_for_number(p_values: Mapping[str, float], *, level: float = 1 - CONFIDENCE) -> set[str]:
    """Return the names whose gains remain significant after Holm's correction for multiple testing.

    Args:
        p_values: One-sided p-value of each decided setting.
        level: Family-wise error rate.
    """
    kept: set[str] = set()
    ordered = sorted(p_values, key=lambda name: p_values[name])
    for place, name in enumerate(ordered):
        if p_values[name] > level / (len(ordered) - place):
            break
        kept.add(name)
    return kept
