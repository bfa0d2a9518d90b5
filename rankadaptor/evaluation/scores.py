"""Accuracies of one model, and their paired differences to another model's on the same items."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rankadaptor.errors import InputError

BOOLQ = "boolq"
"""Excluded from a second mean, because answering "yes" to everything scores 62 %."""


@dataclass(frozen=True)
class Score:
    """Score of a model on one benchmark.

    Attributes:
        benchmark: Name of the benchmark.
        metric: Metric of an item: `acc` (highest log-likelihood) or `acc_norm` (log-likelihood per byte of
            the answer) for the seven; a user's benchmark may have another.
        correct: One value per item, 1 or 0; benchmarks with partial credit have values in between.
        items: Indices of the items in the benchmark's full list, ascending.
        digest: Digest of the content of the items.
    """

    benchmark: str
    metric: str
    correct: tuple[float, ...]
    items: tuple[int, ...]
    digest: str

    def __repr__(self) -> str:
        error = f" ± {100 * self.standard_error:.1f}" if self.standard_error is not None else ""
        return f"Score({self.benchmark}: {self.metric} {100 * self.accuracy:.1f} %{error}, {self.n} items)"

    @property
    def n(self) -> int:
        """Number of items."""
        return len(self.correct)

    @property
    def accuracy(self) -> float:
        """Mean over items, in [0, 1] for the seven."""
        return float(np.mean(self.correct))

    @property
    def standard_error(self) -> float | None:
        """Sampling error of the accuracy, as lm-eval computes it; None for a single item."""
        return _standard_error(self.correct)


@dataclass(frozen=True)
class Scores:
    """Scores of a model on several benchmarks.

    Attributes:
        benchmarks: One score each, in the order asked for.
        seed: Seed of the choice of items under a limit.
        limit: Maximum number of items per benchmark, None for all.
        seconds: Wall time.
        tokens: Positions computed, padding included.
    """

    benchmarks: tuple[Score, ...]
    seed: int = 0
    limit: int | None = None
    seconds: float = 0.0
    tokens: int = 0

    def __getitem__(self, benchmark: str) -> Score:
        for score in self.benchmarks:
            if score.benchmark == benchmark:
                return score
        raise KeyError(f"{benchmark!r}; scored were {', '.join(self.names)}")

    @property
    def names(self) -> tuple[str, ...]:
        """The benchmarks' names, in order."""
        return tuple(score.benchmark for score in self.benchmarks)

    @property
    def mean(self) -> float:
        """Mean accuracy over benchmarks, with equal weights."""
        return _mean(score.accuracy for score in self.benchmarks)

    @property
    def mean_standard_error(self) -> float | None:
        """Sampling error of `mean`."""
        return _combine(score.standard_error for score in self.benchmarks)

    @property
    def mean_without_boolq(self) -> float | None:
        """Mean accuracy over the benchmarks other than BoolQ; None if there is no other."""
        others = [score.accuracy for score in self.benchmarks if score.benchmark != BOOLQ]
        return _mean(others) if others else None

    def summary(self) -> dict[str, Any]:
        """Return accuracies and standard errors in [0, 1], by benchmark and in the mean, JSON-like."""
        rows: dict[str, Any] = {
            score.benchmark: {
                "metric": score.metric,
                "accuracy": score.accuracy,
                "standard_error": score.standard_error,
                "n": score.n,
            }
            for score in self.benchmarks
        }
        return {
            **rows,
            "mean": self.mean,
            "mean_standard_error": self.mean_standard_error,
            "mean_without_boolq": self.mean_without_boolq,
        }

    def to_json(self) -> dict[str, Any]:
        """Return everything, items included, as a JSON-like dict."""
        return {
            "benchmarks": [
                {
                    "benchmark": score.benchmark,
                    "metric": score.metric,
                    "correct": " ".join(f"{value:g}" for value in score.correct),
                    "items": " ".join(map(str, score.items)),
                    "digest": score.digest,
                }
                for score in self.benchmarks
            ],
            "seed": self.seed,
            "limit": self.limit,
            "seconds": self.seconds,
            "tokens": self.tokens,
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Scores:
        """Return the scores that `to_json` wrote."""
        scores = tuple(
            Score(
                benchmark=entry["benchmark"],
                metric=entry["metric"],
                correct=tuple(float(value) for value in entry["correct"].split()),
                items=tuple(int(item) for item in entry["items"].split()),
                digest=entry["digest"],
            )
            for entry in document["benchmarks"]
        )
        rest = {key: document[key] for key in ("seed", "limit", "seconds", "tokens")}
        return cls(benchmarks=scores, **rest)


@dataclass(frozen=True)
class Difference:
    """Paired difference of two models on one benchmark.

    Attributes:
        benchmark: Name of the benchmark.
        difference: Accuracy of the first minus that of the second; 0.01 is one point.
        standard_error: Sampling error of the paired difference; None for a single item.
        n: Number of items.
        gained: Items on which the first did better.
        lost: Items on which the first did worse.
    """

    benchmark: str
    difference: float
    standard_error: float | None
    n: int
    gained: int
    lost: int


@dataclass(frozen=True)
class Differences:
    """Paired differences of two models over several benchmarks.

    Attributes:
        benchmarks: One difference each.
    """

    benchmarks: tuple[Difference, ...]

    def __getitem__(self, benchmark: str) -> Difference:
        for entry in self.benchmarks:
            if entry.benchmark == benchmark:
                return entry
        raise KeyError(
            f"{benchmark!r}; compared were {', '.join(entry.benchmark for entry in self.benchmarks)}"
        )

    @property
    def mean(self) -> float:
        """Mean difference over benchmarks, with equal weights."""
        return _mean(entry.difference for entry in self.benchmarks)

    @property
    def standard_error(self) -> float | None:
        """Sampling error of `mean`."""
        return _combine(entry.standard_error for entry in self.benchmarks)

    def summary(self) -> dict[str, Any]:
        """Return the differences by benchmark and their mean as a JSON-like dict; 0.01 is one point."""
        rows: dict[str, Any] = {
            entry.benchmark: {
                "difference": entry.difference,
                "standard_error": entry.standard_error,
                "n": entry.n,
                "gained": entry.gained,
                "lost": entry.lost,
            }
            for entry in self.benchmarks
        }
        return {**rows, "mean": {"difference": self.mean, "standard_error": self.standard_error}}

    def describe(self) -> str:
        """Describe the mean difference in one sentence, in accuracy points."""
        error = self.standard_error
        spread = "" if error is None else f" ± {100 * error:.2f} (standard error)"
        count = len(self.benchmarks)
        return f"{100 * self.mean:+.2f}{spread} accuracy points over {count} benchmark" + (
            "s." if count != 1 else "."
        )


def compare_scores(first: Scores, second: Scores) -> Differences:
    """Compare two models item by item on the benchmarks that both were scored on.

    Two models often fail on the same items, so the paired difference has a much smaller error than the two
    separate standard errors suggest.

    Raises:
        InputError: If they share no benchmark, or were scored on different items or by different metrics.
    """
    shared = [
        (score, second[score.benchmark]) for score in first.benchmarks if score.benchmark in second.names
    ]
    if not shared:
        raise InputError(
            f"nothing to compare: one was scored on {', '.join(first.names)}, the other on "
            f"{', '.join(second.names)}. Evaluate both on the same benchmarks."
        )
    return Differences(tuple(_compare(one, other) for one, other in shared))


def _compare(one: Score, other: Score) -> Difference:
    if (one.metric, one.items, one.digest) != (other.metric, other.items, other.digest):
        raise InputError(
            f"{one.benchmark}: {one.n} items by {one.metric} against {other.n} by {other.metric}, not the "
            "same items. Evaluate both models with the same limit and seed."
        )
    paired = np.asarray(one.correct) - np.asarray(other.correct)
    return Difference(
        benchmark=one.benchmark,
        difference=float(paired.mean()),
        standard_error=_standard_error(paired.tolist()),
        n=one.n,
        gained=int((paired > 0).sum()),
        lost=int((paired < 0).sum()),
    )


def _standard_error(values: Sequence[float]) -> float | None:
    if len(values) < 2:
        return None
    return float(np.std(values, ddof=1)) / math.sqrt(len(values))


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _combine(errors: Iterable[float | None]) -> float | None:
    """Return the standard error of a mean of independent figures; None if one is unknown."""
    known = list(errors)
    if any(error is None for error in known):
        return None
    return math.sqrt(sum(error * error for error in known if error is not None)) / len(known)
