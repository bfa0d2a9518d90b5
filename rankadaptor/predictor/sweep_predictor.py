"""A predictor of damage whose prior is a sum of slot values and which learns from a search's records.

The damage D of an allocation, −gain (the KL divergence to the first reference where records have it), is
modelled by its logarithm; `rankadaptor.predictor.damage` says how. The slot values come from a sweep, or from
features that were meta-trained to predict them.

Means are those of ln D, transformed; the standard deviation is the step from there to one standard deviation
below in ln D. That of the damage itself would be dominated by how much worse an allocation may be, and an
acquisition function that adds it would propose the worst.

A measurement of full fidelity is exact, and allocations that have one are predicted as measured.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rankadaptor.features import SlotValues
from rankadaptor.predictor.damage.features import SMALLEST, DamageFeatures
from rankadaptor.predictor.damage.posterior import Posterior, condition, describe_errors
from rankadaptor.predictor.damage.prior import SWEPT, DamagePrior
from rankadaptor.predictor.observations import read_choices
from rankadaptor.predictor.prediction import Choices, Floats, Prediction
from rankadaptor.space.tables import compute_keys

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.space import Space

Ints = NDArray[np.int64]
Singles = NDArray[np.float32]

CHUNK = 2048


@dataclass(frozen=True)
class SweepPredictor:
    """Predicts gains from slot values, corrected by the records of the search.

    Attributes:
        values: Slot values of the space, in nats per token.
        seed: Of the draws, for Thompson sampling.
        prior: What is known about the corrections before the first record.
        name: As `make_predictor` takes it.
    """

    values: SlotValues
    seed: int = 0
    prior: DamagePrior = dataclasses.field(default=SWEPT, repr=False)
    name: str = "sweep"
    posterior: Posterior | None = dataclasses.field(default=None, repr=False, compare=False)
    pretrained: bool = dataclasses.field(default=True, init=False)

    def predict(self, space: Space, allocations: Choices) -> Prediction:
        """Predict gains; see `Predictor`."""
        array = read_choices(space, allocations)
        mean, std = self.predict_logs(space, array)
        damage = np.exp(mean)
        width = damage * -np.expm1(-std)  # downwards: the tail upwards must not look like a promise
        if self.posterior is not None:
            measured = np.isin(compute_keys(array), self.posterior.keys)
            for row in np.flatnonzero(measured).tolist():
                damage[row], width[row] = self.posterior.known[tuple(array[row].tolist())], 0.0
        origin = (array == np.asarray(space.origin)).all(axis=1)
        damage[origin], width[origin] = 0.0, 0.0
        return Prediction(mean=-damage, std=width)

    def update(self, space: Space, records: Sequence[Record]) -> SweepPredictor:
        """Condition on all records; see `Predictor`."""
        seen = gather_damages(space, records)
        if not seen:
            return dataclasses.replace(self, posterior=None)
        choices = np.array([row for row, _ in seen], dtype=np.int64)
        fidelities = np.array([fidelity for _, fidelity in seen])
        damages = np.array(list(seen.values()))
        expected, shared, own = self._describe(space, choices)
        residuals = np.log(np.maximum(damages, SMALLEST)) - expected
        full = fidelities >= fidelities.max()
        known = {
            row: damage for (row, _), damage, whole in zip(seen, damages.tolist(), full, strict=True) if whole
        }
        errors = describe_errors(fidelities / fidelities.max() if fidelities.max() > 0 else fidelities + 1.0)
        posterior = condition(shared, own, residuals, errors, known, prior=self.prior)
        return dataclasses.replace(self, posterior=posterior)

    def predict_logs(self, space: Space, choices: Ints) -> tuple[Floats, Floats]:
        """Return mean and SD of ln D of choices `(n, n_slots)`, `(n,)` each."""
        mean, std = np.zeros(len(choices)), np.zeros(len(choices))
        for start in range(0, len(choices), CHUNK):
            part = slice(start, start + CHUNK)
            expected, shared, own = self._describe(space, choices[part])
            if self.posterior is not None:
                correction, std[part] = self.posterior.correct(shared, own)
                mean[part] = expected + correction
                continue
            size, rest = _take_middle(self.prior.own), _take_middle(self.prior.rest)
            variance = (shared**2).sum(axis=1) + size**2 * (own**2).sum(axis=1) + rest**2
            mean[part], std[part] = expected, np.sqrt(variance)
        return mean, std

    def _describe(self, space: Space, choices: Ints) -> tuple[Floats, Singles, Singles]:
        """Return the prior mean of ln D `(n,)`, and features; shared ones are times their prior SD."""
        features = DamageFeatures.of(space, self.values)
        means, spreads = self.prior.lay_out(features.names)
        log, shared, own = features.describe(choices, centre=self.prior.centre)
        return log + shared @ means, shared * spreads.astype(np.float32), own


def gather_damages(space: Space, records: Sequence[Record]) -> dict[tuple[tuple[int, ...], float], float]:
    """Return damage by choices and fidelity; failed records and the first reference are left out."""
    groups: dict[tuple[tuple[int, ...], float], list[float]] = {}
    for record in records:
        if record.gain is not None and (choices := space.find_choices(record.values)) != space.origin:
            groups.setdefault((choices, record.fidelity), []).append(-record.gain)
    return {key: float(np.mean(damages)) for key, damages in groups.items()}


def _take_middle(sizes: Sequence[float]) -> float:
    return sizes[len(sizes) // 2]
