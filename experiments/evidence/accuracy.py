"""Whether held-out loss predicts accuracy on benchmarks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from experiments.evidence.correlation import Correlation, correlate

if TYPE_CHECKING:
    from rankadaptor.corpus import Study
    from rankadaptor.corpus.studies import ScoredModel

BOOLQ = "boolq"
CHANCE = {
    "boolq": 1 / 2, "piqa": 1 / 2, "hellaswag": 1 / 4, "winogrande": 1 / 2, "arc_easy": 1 / 4,
    "arc_challenge": 1 / 4, "openbookqa": 1 / 4,
}  # fmt: skip
"""Accuracy of guessing. (A few questions of ARC have three or five answers.)"""


@dataclass(frozen=True)
class Scored:
    """One recovered model.

    Attributes:
        role: `uniform`, `best` or `worst`.
        loss: Held-out loss, nats per token.
        accuracy: Mean accuracy over the benchmarks that all models share, 0 to 1.
        error: Its standard error from sampling items; None if unknown.
    """

    role: str
    loss: float
    accuracy: float
    error: float | None


@dataclass(frozen=True)
class Contrast:
    """Mean accuracy of one group of models minus that of another, as a share of 1.

    Attributes:
        first: Role of the first group.
        second: Role of the second group.
        difference: Difference of mean accuracies.
        error: Its standard error. Paired if differences to uniform on the same items were stored (groups
            against uniform only); otherwise from the spread between models, if both groups have several;
            otherwise from sampling items, unpaired.
        error_source: `paired items`, `models` or `items`.
        loss_difference: Difference of mean held-out losses, nats per token.
    """

    first: str
    second: str
    difference: float
    error: float | None
    error_source: str
    loss_difference: float


@dataclass(frozen=True)
class Accuracy:
    """The benchmarks of one setting.

    Attributes:
        benchmarks: Names of those that all models share.
        models: One entry per model.
        correlation: Rank correlation of the negative loss with mean accuracy; at 1, a lower loss always means
            a higher accuracy.
        without_boolq: The same without BoolQ, the noisiest of the seven; None if it was not measured.
        contrasts: Best against worst, and each against uniform, where measured.
        by_role: Mean accuracy of each role's models on each of `benchmarks`, in that order.
    """

    benchmarks: tuple[str, ...]
    models: tuple[Scored, ...]
    correlation: Correlation | None
    without_boolq: Correlation | None
    contrasts: tuple[Contrast, ...]
    by_role: Mapping[str, tuple[float, ...]]

    @property
    def chance(self) -> float | None:
        """Mean accuracy of guessing; None if a benchmark is not one of the seven."""
        known = [CHANCE[name] for name in self.benchmarks if name in CHANCE]
        return float(np.mean(known)) if len(known) == len(self.benchmarks) else None


def compare_accuracy(study: Study) -> Accuracy | None:
    """Compare losses and accuracies of a setting's recovered models; None if none share a benchmark."""
    models = study.benchmarks
    shared = [name for name in (models[0].scores if models else {}) if all(name in m.scores for m in models)]
    if not shared:
        return None
    scored = tuple(_score(model, shared) for model in models)
    others = [name for name in shared if name != BOOLQ]
    losses = [-model.loss for model in models]
    without = None
    if BOOLQ in shared and others:
        without = correlate(losses, [_score(model, others).accuracy for model in models])
    contrasts = [
        _contrast(models, shared, first, second)
        for first, second in (("best", "worst"), ("best", "uniform"), ("worst", "uniform"))
    ]
    return Accuracy(
        benchmarks=tuple(shared),
        models=scored,
        correlation=correlate(losses, [model.accuracy for model in scored]),
        without_boolq=without,
        contrasts=tuple(contrast for contrast in contrasts if contrast is not None),
        by_role={
            role: tuple(
                float(np.mean([model.scores[name].value for model in models if model.role == role]))
                for name in shared
            )
            for role in dict.fromkeys(model.role for model in models)
        },
    )


def _score(model: ScoredModel, names: Sequence[str]) -> Scored:
    scores = [model.scores[name] for name in names]
    return Scored(
        role=model.role,
        loss=model.loss,
        accuracy=float(np.mean([score.value for score in scores])),
        error=_combine([score.stderr for score in scores]),
    )


def _combine(errors: Sequence[float | None]) -> float | None:
    """Return the standard error of a mean of independent figures; None if one is unknown."""
    known = [error for error in errors if error is not None]
    return math.sqrt(sum(error**2 for error in known)) / len(known) if len(known) == len(errors) else None


def _contrast(
    models: Sequence[ScoredModel], names: Sequence[str], first: str, second: str
) -> Contrast | None:
    one = [model for model in models if model.role == first]
    two = [model for model in models if model.role == second]
    if not one or not two:
        return None
    scored = [[_score(model, names) for model in group] for group in (one, two)]
    means = [np.array([model.accuracy for model in group]) for group in scored]
    difference = float(means[0].mean() - means[1].mean())
    error, source = _find_error(one, names, second, means)
    if error is None:
        parts = [
            _combine([model.error for model in group]) for group in scored
        ]  # the items are the same, so this overestimates the error
        error = math.hypot(*parts) if None not in parts else None  # type: ignore[arg-type]
        source = "items"
    losses = [float(np.mean([model.loss for model in group])) for group in (one, two)]
    return Contrast(first, second, difference, error, source, losses[0] - losses[1])


def _find_error(
    one: Sequence[ScoredModel], names: Sequence[str], second: str, means: Sequence[np.ndarray]
) -> tuple[float | None, str]:
    if second == "uniform":
        paired = [_combine([model.scores[name].difference_stderr for name in names]) for model in one]
        known = [error for error in paired if error is not None]
        if len(known) == len(one):  # all are compared with the same run of uniform: no gain from averaging
            return float(np.mean(known)), "paired items"
    if all(len(group) > 1 for group in means):
        return math.sqrt(sum(float(group.var(ddof=1)) / len(group) for group in means)), "models"
    return None, ""
