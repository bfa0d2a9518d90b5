"""Comparison of predictors on settings that they were not trained on, with growing numbers of records."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rankadaptor.predictor.ceiling import Ceiling, compare_with_ceiling, find_ceiling, simulate_null
from rankadaptor.predictor.evidence import Evidence
from rankadaptor.predictor.observations import Observations
from rankadaptor.predictor.prediction import Floats, Prediction, Predictor
from rankadaptor.predictor.rank_agreement import compute_kendall, compute_regret, compute_spearman

logger = logging.getLogger(__name__)

COUNTS = (0, 4, 8, 16, 32)
DRAWS = 5
PERMUTATIONS = 500
LEAST_PREDICTED = 8
"""Smallest number of allocations to predict."""
HALF, NINE_TENTHS = 0.6744897501960817, 1.6448536269514722
"""Half widths of the central 50 % and 90 % intervals of a normal distribution, in standard deviations."""

Train: TypeAlias = Callable[[Sequence[Evidence]], Predictor]
"""Makes a predictor from the settings that it may be trained on."""


@dataclass(frozen=True)
class _Predicted:
    """Predictions for the allocations that were not among the records."""

    rows: NDArray[np.int64]
    prediction: Prediction


def judge_setting(
    predictor: Predictor,
    evidence: Evidence,
    *,
    counts: Sequence[int] = COUNTS,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Evaluate a predictor on one setting that it has not been trained on.

    For each count, the predictor is conditioned on that many allocations, drawn at random `draws` times, and
    predicts all others. Counts that leave fewer than eight allocations to predict are left out.

    Returns:
        One row per count; see `docs/how-to/train-your-predictor.md` for its fields.
    """
    observations = evidence.observations
    ceiling = find_ceiling(observations, seed=seed)
    rows = []
    for count in counts:
        if len(observations) - count < LEAST_PREDICTED:
            continue
        predictions = [
            _predict_others(predictor, evidence, observations, count=count, seed=seed + draw)
            for draw in range(draws if count else 1)
        ]
        rows.append(
            {
                "predictor": predictor.name,
                "setting": evidence.name,
                "held_out": evidence.held_out,
                "records": count,
                **_summarise(predictions, observations, ceiling, seed=seed),
            }
        )
    return rows


def _predict_others(
    predictor: Predictor, evidence: Evidence, observations: Observations, *, count: int, seed: int
) -> _Predicted:
    order = np.random.default_rng(seed).permutation(len(observations))
    chosen_labels = {observations.labels[row] for row in order[:count]}
    records = [record for record in evidence.records if record.values in chosen_labels]
    rows = np.sort(order[count:])
    conditioned = predictor.update(evidence.space, records) if count else predictor
    return _Predicted(rows, conditioned.predict(evidence.space, observations.choices[rows]))


def _summarise(
    predictions: Sequence[_Predicted], observations: Observations, ceiling: Ceiling, *, seed: int
) -> dict[str, Any]:
    taus, rhos, first, fifth, half, most, spreads = [], [], [], [], [], [], []
    for predicted in predictions:
        measured, mean = observations.gains[predicted.rows], predicted.prediction.mean
        taus.append(compute_kendall(mean, measured))
        rhos.append(compute_spearman(mean, measured))
        first.append(compute_regret(mean, measured, top=1))
        fifth.append(compute_regret(mean, measured, top=5))
        errors = np.abs(measured - mean) / _find_width(predicted, observations)
        half.append(float(np.mean(errors <= HALF)))
        most.append(float(np.mean(errors <= NINE_TENTHS)))
        spreads.append(float(mean.std()))
    kendall = float(np.mean(taus))
    null = simulate_null(
        [predicted.prediction.mean for predicted in predictions],
        observations.gains,
        [predicted.rows for predicted in predictions],
        count=PERMUTATIONS,
        seed=seed,
    )
    return {
        "kendall": kendall,
        "ceiling": ceiling.kendall,
        "kendall_ratio": compare_with_ceiling(kendall, ceiling.kendall),
        "spearman": float(np.mean(rhos)),
        "regret1": float(np.mean(first)),
        "regret5": float(np.mean(fifth)),
        "coverage50": float(np.mean(half)),
        "coverage90": float(np.mean(most)),
        "p_null": float((1 + (null >= kendall).sum()) / (1 + PERMUTATIONS)),
        "null_kendall95": float(np.quantile(null, 0.95)),
        "allocations": len(observations),
        "signal": ceiling.signal,
        "noise": ceiling.noise,
        "measured_spread": ceiling.spread,
        "predicted_spread": float(np.mean(spreads)),
    }


def _find_width(predicted: _Predicted, observations: Observations) -> Floats:
    """Return the SD of measured means around their predictions: model uncertainty and known noise."""
    noise = predicted.prediction.noise / np.sqrt(observations.counts[predicted.rows])
    width: Floats = np.maximum(np.hypot(predicted.prediction.std, noise), 1e-12)
    return width


def compare_predictors(
    contestants: Mapping[str, Train],
    evidence: Sequence[Evidence],
    *,
    judge: Callable[[str, Evidence, Callable[[], Predictor]], list[dict[str, Any]]],
    siblings: bool = True,
) -> list[dict[str, Any]]:
    """Evaluate every contestant on every setting, trained on all others that are not held out.

    Args:
        contestants: By name.
        evidence: Settings with enough records for an evaluation.
        judge: Called with name, setting and a function that trains the predictor; returns the rows. If it has
            stored rows it need not call that function, and nothing is trained.
        siblings: Whether other settings of the same model may be trained on.
    """
    rows: list[dict[str, Any]] = []
    for name, train in contestants.items():
        trained: dict[tuple[str, ...], Predictor] = {}  # held-out settings share one predictor
        for setting in evidence:
            others = [e for e in evidence if _may_train_on(e, setting, siblings=siblings)]

            def make(
                train: Train = train,
                others: Sequence[Evidence] = others,
                trained: dict[tuple[str, ...], Predictor] = trained,
            ) -> Predictor:
                key = tuple(each.name for each in others)
                if key not in trained:
                    trained[key] = train(others)
                return trained[key]

            rows += judge(name, setting, make)
    return rows


def _may_train_on(other: Evidence, setting: Evidence, *, siblings: bool) -> bool:
    same_model = other.model != "" and other.model == setting.model
    return not other.held_out and other.name != setting.name and (siblings or not same_model)


def average_rows(rows: Sequence[Mapping[str, Any]], *, signal: bool | None = True) -> list[dict[str, Any]]:
    """Average over settings by predictor, count and whether held out.

    Args:
        rows: Of `judge_setting`.
        signal: Use only settings with this `signal`; None uses all.
    """
    fields = (
        "kendall", "ceiling", "kendall_ratio", "spearman", "regret1", "regret5", "coverage50", "coverage90",
        "predicted_spread", "noise",
    )  # fmt: skip
    groups: dict[tuple[str, bool, int], list[Mapping[str, Any]]] = {}
    for row in rows:
        if signal is None or row["signal"] is signal:
            groups.setdefault((row["predictor"], row["held_out"], row["records"]), []).append(row)
    averaged = []
    for (name, held_out, count), group in groups.items():
        means: dict[str, Any] = {}
        for field in fields:
            known = [row[field] for row in group if row[field] is not None]
            means[field] = float(np.mean(known)) if known else None
        averaged.append(
            {"predictor": name, "held_out": held_out, "records": count, "settings": len(group), **means}
        )
    return averaged
