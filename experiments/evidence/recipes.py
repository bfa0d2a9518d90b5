"""Effects of the recipe: learning rates on uniform, learning rates per allocation, scaling exponents."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from experiments.evidence.correlation import Correlation, correlate
from rankadaptor.space import Values

if TYPE_CHECKING:
    from rankadaptor.corpus import Study
    from rankadaptor.corpus.studies import Trial

FEWEST_RATES = 4


@dataclass(frozen=True)
class RateCurve:
    """Held-out loss of uniform over learning rates.

    Attributes:
        rates: Learning rates, ascending.
        losses: Mean loss over seeds at each, nats per token.
        tuned: The rate that the setting uses.
        later: Further rates of uniform, measured after the tuning together with allocations at their own
            rates, with their losses.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    tuned: float | None
    later: tuple[tuple[float, float], ...] = ()

    @property
    def best(self) -> float:
        """The rate with the lowest loss."""
        return self.rates[int(np.argmin(self.losses))]

    @property
    def at_edge(self) -> bool:
        """Whether the lowest loss lies at the first or last rate tried: the grid may be too narrow."""
        return len(self.rates) < 3 or self.best in (self.rates[0], self.rates[-1])

    @property
    def found_later(self) -> tuple[float, float] | None:
        """A later rate that is better than all tuned ones, and its advantage; None if there is none."""
        rate, loss = min(self.later, key=lambda point: point[1], default=(0.0, np.inf))
        return (rate, min(self.losses) - loss) if loss < min(self.losses) else None

    @property
    def cost_of_neighbour(self) -> float:
        """Loss of the second best rate minus the lowest loss, nats per token."""
        ordered = sorted(self.losses)
        return ordered[1] - ordered[0] if len(ordered) > 1 else 0.0


@dataclass(frozen=True)
class OwnRates:
    """Whether the order of allocations is the same if each has its own best learning rate.

    Attributes:
        allocations: Number of allocations.
        rates: Number of learning rates tried for each.
        seeds: Number of seeds.
        correlation: Correlation of gains at the setting's rate with gains at each allocation's best rate.
        same_rate: Share of the allocations whose best rate is uniform's best.
        best_tuned: Gain at the setting's rate of the allocation that is best there, nats per token.
        best_own: Gain of the same allocation if it and uniform each have their best rate.
        between_seeds: Mean correlation of the gains at the setting's rate between two seeds; None with one
            seed.
    """

    allocations: int
    rates: int
    seeds: int
    correlation: Correlation | None
    same_rate: float
    best_tuned: float
    best_own: float
    between_seeds: float | None


@dataclass(frozen=True)
class Exponent:
    """Allocations under one scaling exponent, at the rate of those tried where uniform is best.

    Attributes:
        exponent: γ in LoRA scale ∝ r^−γ.
        learning_rate: The rate.
        gains: `(n,)` gain of each allocation, mean over seeds, nats per token; the same allocations in the
            same order for every exponent of a setting.
        loss_uniform: Mean loss of uniform, nats per token.
        seeds: Number of seeds.
        correlation: Correlation of the gains with those under the last exponent.
    """

    exponent: float
    learning_rate: float | None
    gains: tuple[float, ...]
    loss_uniform: float
    seeds: int
    correlation: Correlation | None


def build_rate_curve(study: Study, *, reference: Sequence[int], tuned: float | None) -> RateCurve | None:
    """Return uniform's loss over learning rates, at the length with the most rates; None without any."""
    lengths: dict[int, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for trial in study.learning_rates:
        if trial.values in (None, tuple(reference)) and trial.loss is not None and trial.learning_rate:
            lengths[trial.steps or 0][_round(trial.learning_rate)].append(trial.loss)
    if not lengths:
        return None
    curve = lengths[max(lengths, key=lambda steps: (len(lengths[steps]), steps))]
    rates = sorted(curve)
    uniform = _average(study.rates_by_allocation).get(tuple(reference), {})
    return RateCurve(
        tuple(rates),
        tuple(float(np.mean(curve[rate])) for rate in rates),
        tuned,
        later=tuple((rate, loss) for rate, loss in sorted(uniform.items()) if rate not in curve),
    )


def compare_own_rates(study: Study, *, reference: Sequence[int], tuned: float | None) -> OwnRates | None:
    """Compare gains at the setting's rate with gains at own best rates; None if not measured."""
    losses = _average(study.rates_by_allocation)
    uniform = losses.pop(tuple(reference), None) or _average_uniform(study.rates_by_allocation)
    others = {values: by_rate for values, by_rate in losses.items() if len(by_rate) > 1}
    if tuned is None or not uniform or not others:
        return None
    rate = _round(tuned)
    if rate not in uniform:
        rate = min(uniform, key=lambda other: uniform[other])
    others = {values: by_rate for values, by_rate in others.items() if rate in by_rate}
    if not others:
        return None
    at_tuned = np.array([uniform[rate] - by_rate[rate] for by_rate in others.values()])
    at_own = np.array([min(uniform.values()) - min(by_rate.values()) for by_rate in others.values()])
    best = int(np.argmax(at_tuned))
    best_rate = min(uniform, key=lambda other: uniform[other])
    return OwnRates(
        allocations=len(others),
        rates=max(len(by_rate) for by_rate in others.values()),
        seeds=len({trial.seed for trial in study.rates_by_allocation}),
        correlation=correlate(at_tuned, at_own),
        same_rate=float(
            np.mean([min(by_rate, key=lambda r: by_rate[r]) == best_rate for by_rate in others.values()])
        ),
        best_tuned=float(at_tuned[best]),
        best_own=float(at_own[best]),
        between_seeds=_correlate_seeds(study.rates_by_allocation, rate=rate, reference=tuple(reference)),
    )


def compare_exponents(study: Study, *, reference: Sequence[int]) -> tuple[Exponent, ...]:
    """Return the exponents measured, ascending, with the gains of the allocations that all of them have."""
    by_exponent: dict[float, list[Trial]] = defaultdict(list)
    for trial in study.exponents:
        if trial.exponent is not None and trial.gain is not None and trial.loss_uniform is not None:
            by_exponent[trial.exponent].append(trial)
    chosen = {exponent: _keep_best_rate(trials) for exponent, trials in sorted(by_exponent.items())}
    gains = {exponent: _average_gains(trials, tuple(reference)) for exponent, trials in chosen.items()}
    shared = [
        values
        for values in (next(iter(gains.values())) if gains else {})
        if all(values in each for each in gains.values())
    ]
    if not shared:
        return ()
    last = [gains[max(gains)][values] for values in shared]
    return tuple(
        Exponent(
            exponent=exponent,
            learning_rate=trials[0].learning_rate,
            gains=tuple(gains[exponent][values] for values in shared),
            loss_uniform=float(np.mean([trial.loss_uniform for trial in trials])),
            seeds=len({trial.seed for trial in trials}),
            correlation=correlate([gains[exponent][values] for values in shared], last),
        )
        for exponent, trials in chosen.items()
    )


def _round(rate: float) -> float:
    return float(f"{rate:.6g}")


def _average(trials: Iterable[Trial]) -> dict[Values, dict[float, float]]:
    """Return mean losses by allocation and rate."""
    losses: dict[Values, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for trial in trials:
        if trial.values is not None and trial.loss is not None and trial.learning_rate:
            losses[trial.values][_round(trial.learning_rate)].append(trial.loss)
    return {
        values: {rate: float(np.mean(found)) for rate, found in by_rate.items()}
        for values, by_rate in losses.items()
    }


def _average_uniform(trials: Iterable[Trial]) -> dict[float, float]:
    """Return uniform's mean loss by rate from the trials of the other allocations."""
    losses: dict[float, dict[int, float]] = defaultdict(dict)
    for trial in trials:
        if trial.loss_uniform is not None and trial.learning_rate:
            losses[_round(trial.learning_rate)][trial.seed] = trial.loss_uniform
    return {rate: float(np.mean(list(by_seed.values()))) for rate, by_seed in losses.items()}


def _average_gains(trials: Iterable[Trial], reference: Values) -> dict[Values, float]:
    gains: dict[Values, list[float]] = defaultdict(list)
    for trial in trials:
        if trial.gain is not None and trial.values is not None and trial.values != reference:
            gains[trial.values].append(trial.gain)
    return {values: float(np.mean(found)) for values, found in gains.items()}


def _keep_best_rate(trials: list[Trial]) -> list[Trial]:
    losses: dict[float | None, list[float]] = defaultdict(list)
    for trial in trials:
        if trial.loss_uniform is not None:
            losses[trial.learning_rate].append(trial.loss_uniform)
    best = min(losses, key=lambda rate: float(np.mean(losses[rate])))
    return [trial for trial in trials if trial.learning_rate == best]


def _correlate_seeds(trials: Iterable[Trial], *, rate: float, reference: Values) -> float | None:
    by_seed: dict[int, list[Trial]] = defaultdict(list)
    for trial in trials:
        if trial.learning_rate and _round(trial.learning_rate) == rate and trial.loss is not None:
            by_seed[trial.seed].append(trial)
    losses = {
        seed: {
            trial.values: trial.loss
            for trial in trials
            if trial.values not in (None, reference) and trial.loss is not None
        }
        for seed, trials in by_seed.items()
    }
    seeds, found = sorted(losses), []
    for place, one in enumerate(seeds):
        for two in seeds[place + 1 :]:
            shared = [values for values in losses[one] if values in losses[two]]
            pair = correlate(
                [losses[one][values] for values in shared], [losses[two][values] for values in shared]
            )
            if pair is not None:
                found.append(pair.spearman)
    return float(np.mean(found)) if found else None
