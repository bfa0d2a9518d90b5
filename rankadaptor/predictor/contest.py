"""Predictors compared on settings that they were not trained on, after ever more records of each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rankadaptor.predictor.ceiling import Ceiling, compare_with_ceiling, find_ceiling, find_null
from rankadaptor.predictor.evidence import Evidence
from rankadaptor.predictor.observations import Observations
from rankadaptor.predictor.prediction import Floats, Prediction, Predictor
from rankadaptor.predictor.rank_agreement import compute_kendall, compute_regret, compute_spearman

logger = logging.getLogger(__name__)

COUNTS = (0, 4, 8, 16, 32)
DRAWS = 5
PERMUTATIONS = 500
LEAST_ASKED = 8
"""Allocations that must be left to predict."""
HALF, NINE_TENTHS = 0.6744897501960817, 1.6448536269514722
"""Standard deviations of a normal law within which half, and nine tenths, of it lie."""

Train: TypeAlias = Callable[[Sequence[Evidence]], Predictor]
"""Makes a predictor from the settings that it may learn from."""


@dataclass(frozen=True)
class _Answer:
    """Predictions of the allocations that were not among the records."""

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
    """Judge a predictor on one setting that it has not been trained on.

    For each count it is conditioned on that many allocations, drawn at random `draws` times, and asked for
    all others. Counts that leave fewer than eight to ask for are left out.

    Returns:
        One row per count; see `docs/how-to/train-your-predictor.md` for its fields.
    """
    observations = evidence.observations
    ceiling = find_ceiling(observations, seed=seed)
    rows = []
    for count in counts:
        if len(observations) - count < LEAST_ASKED:
            continue
        answers = [
            _ask(predictor, evidence, observations, count=count, seed=seed + draw)
            for draw in range(draws if count else 1)
        ]
        rows.append(
            {
                "predictor": predictor.name,
                "setting": evidence.name,
                "held_out": evidence.held_out,
                "records": count,
                **_summarise(answers, observations, ceiling, seed=seed),
            }
        )
    return rows


def _ask(
    predictor: Predictor, evidence: Evidence, observations: Observations, *, count: int, seed: int
) -> _Answer:
    order = np.random.default_rng(seed).permutation(len(observations))
    told = {observations.labels[row] for row in order[:count]}
    records = [record for record in evidence.records if record.values in told]
    rows = np.sort(order[count:])
    conditioned = predictor.update(evidence.space, records) if count else predictor
    return _Answer(rows, conditioned.predict(evidence.space, observations.choices[rows]))


def _summarise(
    answers: Sequence[_Answer], observations: Observations, ceiling: Ceiling, *, seed: int
) -> dict[str, Any]:
    taus, rhos, first, fifth, half, most, spreads = [], [], [], [], [], [], []
    for answer in answers:
        measured, mean = observations.gains[answer.rows], answer.prediction.mean
        taus.append(compute_kendall(mean, measured))
        rhos.append(compute_spearman(mean, measured))
        first.append(compute_regret(mean, measured, top=1))
        fifth.append(compute_regret(mean, measured, top=5))
        errors = np.abs(measured - mean) / _find_width(answer, observations)
        half.append(float(np.mean(errors <= HALF)))
        most.append(float(np.mean(errors <= NINE_TENTHS)))
        spreads.append(float(mean.std()))
    kendall = float(np.mean(taus))
    null = find_null(
        [answer.prediction.mean for answer in answers],
        observations.gains,
        [answer.rows for answer in answers],
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


def _find_width(answer: _Answer, observations: Observations) -> Floats:
    """SD of a measured mean around the prediction: the unknown, and the noise as far as it is known."""
    noise = answer.prediction.noise / np.sqrt(observations.counts[answer.rows])
    width: Floats = np.maximum(np.hypot(answer.prediction.std, noise), 1e-12)
    return width


def hold_contest(
    contestants: Mapping[str, Train],
    evidence: Sequence[Evidence],
    *,
    judge: Callable[[str, Evidence, Callable[[], Predictor]], list[dict[str, Any]]],
    siblings: bool = True,
) -> list[dict[str, Any]]:
    """Judge every contestant on every setting, trained on all others that are not held out.

    Args:
        contestants: By name.
        evidence: Settings with enough records to judge on.
        judge: Called with name, setting and a function that trains the predictor; returns the rows. It may
            know them already, and then nothing is trained.
        siblings: Whether other settings of the same model may be trained on.
    """
    rows: list[dict[str, Any]] = []
    for name, train in contestants.items():
        trained: dict[tuple[str, ...], Predictor] = {}  # the held-out settings share one
        for setting in evidence:
            others = [e for e in evidence if _may_teach(e, setting, siblings=siblings)]

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


def _may_teach(other: Evidence, setting: Evidence, *, siblings: bool) -> bool:
    same_model = other.model != "" and other.model == setting.model
    return not other.held_out and other.name != setting.name and (siblings or not same_model)


def average_rows(rows: Sequence[Mapping[str, Any]], *, signal: bool | None = True) -> list[dict[str, Any]]:
    """Average over settings by predictor, count and whether held out.

    Args:
        rows: Of `judge_setting`.
        signal: Take settings with this `signal` alone; None takes all.
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
