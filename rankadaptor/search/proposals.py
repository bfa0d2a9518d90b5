"""Acquisition functions: one score of a candidate from its predicted gain and uncertainty."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rankadaptor.errors import InputError

if TYPE_CHECKING:
    from rankadaptor.predictor import Prediction

Floats = NDArray[np.float64]
Score = Callable[["Prediction", float, int], Floats]

PROPOSALS = ("expected_improvement", "upper_confidence_bound", "thompson", "greedy", "evolutionary", "random")
UNSURE = ("expected_improvement", "upper_confidence_bound")
"""Acquisition functions that reward the predictor's uncertainty."""
OPTIMISM = 1.5
TAIL = -6.0


def score_expected_improvement(prediction: Prediction, incumbent: float, _draw: int) -> Floats:
    """Logarithm of the expected improvement over the incumbent [EI]_, exact where the latter underflows.

    With z = (mean − incumbent) / std, the improvement is std · (φ(z) + z Φ(z)); far below the incumbent the
    bracket is φ(z) / z² · (1 − 3 / z² + 15 / z⁴ − …).
    """
    from scipy.special import ndtr

    std = np.maximum(prediction.std, 1e-12)
    z = (prediction.mean - incumbent) / std
    density = np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi)
    near = np.log(np.maximum(density + z * ndtr(z), 1e-300))
    square = np.maximum(z**2, TAIL**2)
    far = (
        -0.5 * z**2 - 0.5 * np.log(2.0 * np.pi) - np.log(square) + np.log1p(-3.0 / square + 15.0 / square**2)
    )
    return np.asarray(np.log(std) + np.where(z < TAIL, far, near), dtype=np.float64)


def score_upper_confidence_bound(prediction: Prediction, _incumbent: float, _draw: int) -> Floats:
    """Mean plus 1.5 standard deviations [UCB]_."""
    return prediction.mean + OPTIMISM * prediction.std


def score_thompson(prediction: Prediction, _incumbent: float, draw: int) -> Floats:
    """One draw from the posterior [Thompson]_, joint where the predictor has joint draws."""
    if prediction.draws is not None:
        drawn: Floats = prediction.draws[draw % len(prediction.draws)]
        return drawn
    return prediction.mean + prediction.std * np.random.default_rng(draw).standard_normal(len(prediction))


def score_mean(prediction: Prediction, _incumbent: float, _draw: int) -> Floats:
    """The predicted mean, as in the paper; with offspring of the best as candidates it is evolution."""
    return prediction.mean


def choose_score(proposal: str) -> Score:
    """Return the acquisition function of a name; `random` ranks nothing and has that of `evolutionary`.

    Raises:
        InputError: If the name is unknown.
    """
    scores: dict[str, Score] = {
        "expected_improvement": score_expected_improvement,
        "upper_confidence_bound": score_upper_confidence_bound,
        "thompson": score_thompson,
        "greedy": score_mean,
        "evolutionary": score_mean,
        "random": score_mean,
    }
    if proposal not in scores:
        raise InputError(f"proposal={proposal!r}: allowed are {', '.join(PROPOSALS)}.")
    return scores[proposal]


def describe_rule(proposal: str, *, evaluations: int, batch: int, mean_until: int, trained: bool) -> str:
    """Say which acquisition function chooses how many of a search's allocations, in one sentence.

    Args:
        proposal: Name of the acquisition function asked for.
        evaluations: Allocations to measure.
        batch: Allocations proposed at a time; a batch is chosen by one rule.
        mean_until: Usable records before which the predicted mean is maximised.
        trained: Whether the predictor comes trained from a corpus.
    """
    whole = "the one allocation" if evaluations == 1 else f"all {evaluations} allocations"
    if not trained or proposal not in UNSURE or not mean_until:
        return f"{proposal} chooses {whole}."
    by_mean = min(-(-mean_until // batch) * batch, evaluations)
    if by_mean == evaluations:
        return (
            f"The largest predicted mean chooses {whole}: {proposal} is used from {mean_until} usable "
            "records on (mean_until)."
        )
    return (
        f"The largest predicted mean chooses the first {by_mean} allocations, {proposal} the other "
        f"{evaluations - by_mean}: it is used from {mean_until} usable records on (mean_until)."
    )
