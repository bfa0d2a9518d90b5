"""The surrogate of AMQ (arXiv 2509.12019): cubic radial basis functions with a linear tail."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rankadaptor.predictor.observations import read_choices
from rankadaptor.predictor.prediction import Choices, Floats, Prediction
from rankadaptor.predictor.sweep_predictor import gather_damages

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.space import Space

LEAST = 1e-6


@dataclass(frozen=True)
class RadialBasis:
    """Interpolates ln KL over the coordinates of the options of all slots.

    Attributes:
        points: Coordinates of the records, `(n, m)`.
        weights: Of the kernel and the tail, `(n + 1 + m,)`.
    """

    points: Floats | None = dataclasses.field(default=None, repr=False)
    weights: Floats | None = dataclasses.field(default=None, repr=False)
    name: str = dataclasses.field(default="radial_basis", init=False)
    pretrained: bool = dataclasses.field(default=False, init=False)

    def predict(self, space: Space, allocations: Choices) -> Prediction:
        """Predict; see `Predictor`. The surrogate gives no uncertainty."""
        choices = read_choices(space, allocations)
        mean = np.zeros(len(choices))
        if self.points is not None and self.weights is not None:
            mean = -np.exp(_lay_out(_locate(space, choices), self.points) @ self.weights)
        return Prediction(mean=mean, std=np.zeros(len(choices)))

    def update(self, space: Space, records: Sequence[Record]) -> RadialBasis:
        """Interpolate the records; see `Predictor`."""
        seen = {choices: damage for (choices, _), damage in gather_damages(space, records).items()}
        if not seen:
            return RadialBasis()
        points = _locate(space, np.array(list(seen), dtype=np.int64))
        count, width = len(points), points.shape[1]
        table = _lay_out(points, points)
        system = np.zeros((count + 1 + width, count + 1 + width))
        system[:count], system[count:, :count] = table, table[:, count:].T
        target = np.concatenate([np.log(np.maximum(list(seen.values()), LEAST)), np.zeros(1 + width)])
        weights = np.linalg.lstsq(system, target, rcond=1e-10)[0]  # fewer records than terms: the least norm
        return RadialBasis(points, weights)


def _locate(space: Space, choices: NDArray[np.int64]) -> Floats:
    """Return the coordinates of allocations, each over its range in the space."""
    parts = [each[space.tables.columns, choices] for each in space.tables.coordinates]
    sizes = [max(float(np.abs(each).max()), 1e-12) for each in space.tables.coordinates]
    table = np.concatenate([part / size for part, size in zip(parts, sizes, strict=True)], axis=1)
    found: Floats = table / np.sqrt(space.n_slots)
    return found


def _lay_out(rows: Floats, points: Floats) -> Floats:
    square = (rows**2).sum(axis=1)[:, None] + (points**2).sum(axis=1) - 2.0 * rows @ points.T
    kernel = np.maximum(square, 0.0) ** 1.5
    return np.concatenate([kernel, np.ones((len(rows), 1)), rows], axis=1)
