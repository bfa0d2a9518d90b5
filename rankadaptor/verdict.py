"""A verdict on an allocation, from fresh seeds that the search did not use.

The best measurement of a search is biased upwards: with noise as large as the differences, the best of a
dozen identical allocations looks better than uniform. The search's own measurements are therefore not used
here. The candidate and uniform are measured again under further seeds, paired seed by seed, and judged by
Student's t interval of the mean gain.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from rankadaptor.defaults import CONFIRMATION
from rankadaptor.errors import InputError

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.space import Allocation

logger = logging.getLogger(__name__)

Outcome = Literal["better", "no difference", "worse"]

SMALLEST_SHARE = 0.8
"""Share of the seeds that must give a pair, since failures are not random."""


class SeededMeasure(Protocol):
    """A measurement of one allocation, paired with uniform, that takes the seed of the fine-tune."""

    def __call__(self, allocation: Allocation, *, seed: int) -> Record:
        """Measure `allocation` and uniform under `seed`."""
        ...


@dataclass(frozen=True)
class Judgement:
    """The judgement of paired gains.

    Attributes:
        outcome: `better` or `worse` if the interval excludes zero, else `no difference`.
        gain: Mean gain over uniform in nats per token, positive = better; None without any pair.
        low: Lower end of the interval; None with fewer than two pairs.
        high: Upper end of the interval; None with fewer than two pairs.
        noise: Standard deviation of the paired gains over seeds (n − 1); None with fewer than two pairs.
        confidence: Coverage of the interval, two-sided.
        count: Number of pairs.
        reason: Why the interval alone does not decide, or a caveat; may be empty.
    """

    outcome: Outcome
    gain: float | None
    low: float | None
    high: float | None
    noise: float | None
    confidence: float
    count: int
    reason: str = ""


def judge_gains(gains: Sequence[float], *, confidence: float = 0.95) -> Judgement:
    """Judge paired gains by Student's t interval of their mean.

    One pair gives no estimate of the noise, so its outcome is `no difference`. Pairs that agree to the last
    digit give an interval of width zero; the judgement then has the caveat that the measure may ignore its
    seed.

    Args:
        gains: Loss of uniform minus loss of the candidate, nats per token, one per seed, finite.
        confidence: Coverage of the two-sided interval, in (0, 1).

    Raises:
        InputError: If the confidence is not a share or a gain is not finite.
    """
    if not 0.0 < confidence < 1.0:
        raise InputError(f"confidence={confidence}: must lie between 0 and 1, for example 0.95.")
    values = np.asarray(list(gains), dtype=float)
    if not np.isfinite(values).all():
        raise InputError(
            f"gains={tuple(gains)}: all must be finite. Leave failed runs out and count them instead."
        )
    count = len(values)
    if count < 2:
        reason = "one pair says nothing about the noise" if count else "no pair was measured"
        gain = float(values[0]) if count else None
        return Judgement("no difference", gain, None, None, None, confidence, count, reason)
    from scipy import stats

    gain = float(values.mean())
    # The standard deviation of equal values is 0, without the rounding error of their mean.
    noise = 0.0 if np.ptp(values) == 0 else float(values.std(ddof=1))
    half = float(stats.t.ppf((1 + confidence) / 2, count - 1)) * noise / math.sqrt(count)
    low, high = gain - half, gain + half
    outcome: Outcome = "better" if low > 0 else "worse" if high < 0 else "no difference"
    reason = ""
    if noise == 0 and gain != 0:
        reason = f"all {count} gains are equal to the last digit; check that the measure uses its seed"
    return Judgement(outcome, gain, low, high, noise, confidence, count, reason)


@dataclass(frozen=True)
class Verdict:
    """The outcome of a confirmation, and the recommended allocation.

    Attributes:
        outcome: `better`, `no difference` or `worse` than uniform at the same budget.
        gain: Mean gain over uniform in nats per token of held-out text; None if no pair was measured.
        low: Lower end of the confidence interval of the mean gain; None with fewer than two pairs.
        high: Upper end of the interval; None with fewer than two pairs.
        noise: SD of the paired gains over seeds; None with fewer than two pairs.
        confidence: Coverage of the interval.
        gains: One paired gain per seed that gave a pair.
        seeds: The fresh seeds, those of failed runs included.
        failures: One line per seed without a pair.
        allocation: The recommendation: the candidate if it is better, else uniform.
        candidate: The tested allocation.
        records: The records measured here, failed ones included.
        reason: Why the interval alone did not decide, or a caveat; may be empty.
    """

    outcome: Outcome
    gain: float | None
    low: float | None
    high: float | None
    noise: float | None
    confidence: float
    gains: tuple[float, ...] = field(repr=False)
    seeds: tuple[int, ...] = field(repr=False)
    failures: tuple[str, ...] = field(repr=False)
    allocation: Allocation = field(repr=False)
    candidate: Allocation = field(repr=False)
    records: tuple[Record, ...] = field(repr=False)
    reason: str = ""

    @property
    def steps(self) -> int | None:
        """Optimiser steps of each fine-tune; None if nothing was measured."""
        return max((record.steps for record in self.records), default=None)

    def __str__(self) -> str:
        return self.describe()

    def describe(self, *, recovery_steps: int | None = None) -> str:
        """Describe the verdict in one sentence, with the length of its fine-tunes.

        Args:
            recovery_steps: Optimiser steps of the full recovery, added if they differ.
        """
        named = {"better": "better than uniform", "worse": "worse than uniform"}
        parts = [named.get(self.outcome, "no difference from uniform")]
        if self.gain is not None:
            figure = f"gain {self.gain:+.4f} nats/token"
            if self.low is not None and self.high is not None:
                figure += f", {self.confidence:.0%} interval {self.low:+.4f} to {self.high:+.4f}"
            parts.append(figure)
            if pairs := len(self.gains):
                length = "" if self.steps is None else f"{self.steps}-step "
                text = f"over {pairs} pair{'s' if pairs != 1 else ''} of {length}fine-tunes on fresh seeds"
                if recovery_steps is not None and recovery_steps != self.steps:
                    text += f" (the recovery has {recovery_steps} steps)"
                parts[-1] += f", {text}"
        if self.failures:
            parts.append(f"{len(self.failures)} of {len(self.seeds)} runs failed")
        if self.reason:
            parts.append(self.reason)
        parts.append("use the candidate" if self.outcome == "better" else "use uniform")
        return "; ".join(parts) + "."

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as a JSON-like dict; the records stay in their own files."""
        return {
            "outcome": self.outcome,
            "gain": self.gain,
            "low": self.low,
            "high": self.high,
            "noise": self.noise,
            "confidence": self.confidence,
            "gains": list(self.gains),
            "seeds": list(self.seeds),
            "steps": self.steps,
            "failures": list(self.failures),
            "allocation": list(self.allocation.values),
            "candidate": list(self.candidate.values),
            "reason": self.reason,
            "sentence": self.describe(),
        }


def confirm(
    measure: SeededMeasure,
    allocation: Allocation,
    *,
    seeds: int = CONFIRMATION.seeds,
    first_seed: int = CONFIRMATION.first_seed,
    confidence: float = CONFIRMATION.confidence,
    searched: Iterable[Record] = (),
    quiet: bool = False,
) -> Verdict:
    """Measure a search's best allocation and uniform again on fresh seeds, and judge the paired gains.

    The number of seeds is fixed: stopping once the interval excludes zero would bias the verdict.
    A seed whose run fails is reported and gives no pair; with pairs for fewer than `SMALLEST_SHARE` of the
    seeds the outcome is `no difference`.

    Args:
        measure: Gives a paired record for an allocation and a seed, such as `ShortFineTune`.
        allocation: The candidate.
        seeds: Number of fresh seeds, at least 2; 5 detect an effect of two noise SDs nine times in ten.
        first_seed: The seeds are `first_seed, first_seed + 1, …`.
        confidence: Coverage of the two-sided interval.
        searched: The search's records, whose seeds must not be used again.
        quiet: Log no line per seed, for a `measure` that logs its own.

    Raises:
        InputError: If there are too few seeds, a seed was used by the search, or `measure` ignores its seed.
    """
    if seeds < 2:
        raise InputError(f"seeds={seeds}: at least 2 are needed to estimate the noise; 5 is usual.")
    fresh = tuple(range(first_seed, first_seed + seeds))
    _refuse_used_seeds(fresh, measure, searched)
    uniform = allocation.space.reference()
    if allocation.values == uniform.values:
        logger.info("confirm: the candidate is uniform; nothing to measure")
        return Verdict(
            "no difference", 0.0, None, None, None, confidence, (), fresh, (), uniform, allocation, (),
            "the candidate is uniform itself, so nothing was measured",
        )  # fmt: skip

    records: list[Record] = []
    for seed in fresh:
        record = measure(allocation, seed=seed)
        if record.seed != seed:
            raise InputError(
                f"measure(allocation, seed={seed}) returned a record of seed {record.seed}, so the seeds "
                "would not be fresh. The measure must pass the seed on to its fine-tune and its record."
            )
        if not quiet:
            gain = "failed" if record.gain is None else f"{record.gain:+.4f}"
            logger.info("confirm: seed %d, gain %s", seed, gain)
        records.append(record)
    gains = tuple(record.gain for record in records if record.gain is not None and math.isfinite(record.gain))
    failures = tuple(
        f"seed {record.seed}: {record.error or 'no finite loss'}"
        for record in records
        if record.gain is None or not math.isfinite(record.gain)
    )
    judged = judge_gains(gains, confidence=confidence)
    outcome, reason = judged.outcome, judged.reason
    if len(gains) < SMALLEST_SHARE * seeds:
        outcome, reason = (
            "no difference",
            f"only {len(gains)} of {seeds} seeds gave a pair, too few for a verdict",
        )
    return Verdict(
        outcome=outcome,
        gain=judged.gain,
        low=judged.low,
        high=judged.high,
        noise=judged.noise,
        confidence=confidence,
        gains=gains,
        seeds=fresh,
        failures=failures,
        allocation=allocation if outcome == "better" else uniform,
        candidate=allocation,
        records=tuple(records),
        reason=reason,
    )


def _refuse_used_seeds(fresh: Sequence[int], measure: SeededMeasure, searched: Iterable[Record]) -> None:
    used = {record.seed for record in searched}
    own = getattr(measure, "seed", None)
    if isinstance(own, int):
        used.add(own)
    if overlap := sorted(used.intersection(fresh)):
        raise InputError(
            f"first_seed={fresh[0]}: seed(s) {', '.join(map(str, overlap))} were already used by the "
            f"search, so they would repeat its noise. Choose first_seed > {max(used)}."
        )
