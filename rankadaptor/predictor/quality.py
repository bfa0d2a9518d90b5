"""How well a predictor orders the allocations of one setting, compared with chance and the noise ceiling.

Always within one setting: pooled over settings, a predictor that only distinguishes easy settings from hard
ones would look excellent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rankadaptor.errors import InputError
from rankadaptor.predictor.calibration import assign_folds
from rankadaptor.predictor.ceiling import find_ceiling
from rankadaptor.predictor.observations import gather_observations
from rankadaptor.predictor.prediction import Floats, Predictor
from rankadaptor.predictor.rank_agreement import compute_kendall, compute_regret, compute_spearman

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.space import Space

PERMUTATIONS = 1000
SMALLEST = 4


@dataclass(frozen=True)
class Quality:
    """Quality of cross-validated predictions in one setting.

    Attributes:
        kendall: Kendall's τ between predicted and measured gains; 0 if all predictions are equal.
        spearman: Spearman's ρ, likewise.
        r2: 1 − squared errors / squared gains; the baseline predicts 0, the gain of the reference.
        top1_regret: Measured gain of the best allocation minus that of the one predicted best, nats per
            token.
        null_kendall: 95th percentile of τ when the gains are shuffled.
        p_value: Share of shuffles with at least this τ.
        ceiling: The noise ceiling of τ, as in the benchmark of predictors; None without repeats.
        predicted: Left-out predictions, shape `(n,)`.
        measured: Mean measured gains, shape `(n,)`.
    """

    kendall: float
    spearman: float
    r2: float
    top1_regret: float
    null_kendall: float
    p_value: float
    ceiling: float | None
    predicted: Floats
    measured: Floats

    def to_json(self) -> dict[str, Any]:
        """Return the figures as a JSON-like dict, without the arrays."""
        fields = ("kendall", "spearman", "r2", "top1_regret", "null_kendall", "p_value", "ceiling")
        return {**{name: getattr(self, name) for name in fields}, "allocations": len(self.measured)}


def assess_predictor(
    predictor: Predictor,
    space: Space,
    records: Sequence[Record],
    *,
    folds: int = 10,
    support: int | None = None,
    seed: int = 0,
) -> Quality:
    """Cross-validate a predictor on the records of one setting.

    Args:
        predictor: Not conditioned on records yet; it may be meta-trained on other settings.
        space: The setting's space.
        records: The setting's records; repeats of an allocation stay together.
        folds: Cross-validation folds.
        support: Condition on this many allocations only and predict all others; 0 evaluates a pretrained
            predictor before its first record. None for cross-validation.
        seed: Folds, support and permutations.

    Raises:
        InputError: If fewer than four allocations are left to predict.
    """
    observations = gather_observations(space, records)
    count = len(observations)
    order = np.random.default_rng(seed).permutation(count)
    fold = assign_folds(count, folds=folds, seed=seed)
    if support is not None:
        fold = np.zeros(count, dtype=np.int64)
        fold[order[:support]] = -1
    asked = np.flatnonzero(fold >= 0)
    if asked.size < SMALLEST:
        raise InputError(
            f"{count} usable allocations, {asked.size} of them left to predict: at least {SMALLEST} are "
            "needed. Measure more, or lower `support`."
        )
    predicted = np.zeros(count)
    for left_out in np.unique(fold[asked]):
        rows = observations.choices[fold == left_out]
        kept = {observations.labels[row] for row in np.flatnonzero(fold != left_out)}
        seen = predictor.update(space, [record for record in records if record.values in kept])
        predicted[fold == left_out] = seen.predict(space, rows).mean
    return judge_predictions(
        predicted[asked],
        observations.gains[asked],
        ceiling=find_ceiling(observations, seed=seed).kendall,
        seed=seed,
    )


def judge_predictions(
    predicted: Floats, measured: Floats, *, ceiling: float | None = None, seed: int = 0
) -> Quality:
    """Compare predicted with measured gains, both `(n,)` in nats per token.

    Args:
        predicted: Predictions by fits that did not include the gains.
        measured: Mean gains over the repeats.
        ceiling: The noise ceiling, from `find_ceiling`.
        seed: Permutations.
    """
    kendall = compute_kendall(predicted, measured)
    generator = np.random.default_rng(seed)
    null = np.array(
        [compute_kendall(predicted, generator.permutation(measured)) for _ in range(PERMUTATIONS)]
    )
    size = float((measured**2).sum())
    return Quality(
        kendall=kendall,
        spearman=compute_spearman(predicted, measured),
        r2=1.0 - float(((measured - predicted) ** 2).sum()) / size if size else 0.0,
        top1_regret=compute_regret(predicted, measured, top=1),
        null_kendall=float(np.quantile(null, 0.95)),
        p_value=float((1 + (null >= kendall).sum()) / (1 + PERMUTATIONS)),
        ceiling=ceiling,
        predicted=predicted,
        measured=measured,
    )
