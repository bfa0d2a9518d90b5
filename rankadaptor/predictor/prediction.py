"""The interface of predictors, and their predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rankadaptor.errors import InputError, RankAdaptorError

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.space import Allocation, Space

Floats: TypeAlias = NDArray[np.float64]
Choices: TypeAlias = "NDArray[np.int64] | Sequence[Allocation]"


@dataclass(frozen=True)
class Prediction:
    """Predicted gains over the origin of a space, in nats per token; positive is better.

    Attributes:
        mean: Expected gain, shape `(n,)`; exactly 0 for the origin of the space.
        std: Standard deviation of the true gain, shape `(n,)`, without the noise of a measurement.
        noise: Standard deviation of one measurement around the true gain, estimated from the records; 0 when
            unknown.
        draws: Joint draws from the same distribution, shape `(k, n)`, for Thompson sampling; None if the
            predictor has none.
    """

    mean: Floats
    std: Floats
    noise: float = 0.0
    draws: Floats | None = None

    def __post_init__(self) -> None:
        if self.mean.ndim != 1 or self.mean.shape != self.std.shape:
            raise InputError(f"mean {self.mean.shape} and std {self.std.shape} must have one shape (n,).")
        if self.draws is not None and self.draws.shape[1:] != self.mean.shape:
            raise InputError(f"draws {self.draws.shape} must have shape (k, {self.mean.size}).")
        self._check_finite()

    def _check_finite(self) -> None:
        """Raise an error if a fit diverged."""
        parts = (self.mean, self.std, np.asarray(self.noise), self.draws)
        if not all(bool(np.isfinite(part).all()) for part in parts if part is not None):
            raise RankAdaptorError(
                "a prediction is not finite, because the fit of the predictor diverged. Give it fewer steps "
                "or a smaller learning rate, or choose another predictor (search.predictor)."
            )

    def __len__(self) -> int:
        return int(self.mean.size)


class Predictor(Protocol):
    """Predicts the gains of allocations.

    A predictor is immutable: `update` returns a new one that is conditioned on the records. Pass **all**
    records of the search each time, because records of earlier updates are not kept:

        one = predictor.update(space, [a])       # has seen a
        two = one.update(space, [b])             # has seen b, not a
        both = one.update(space, [a, b])         # has seen a and b

    Equal arguments give equal results, bit for bit on one thread.
    """

    @property
    def name(self) -> str:
        """The name that `make_predictor` takes."""

    @property
    def pretrained(self) -> bool:
        """Whether it predicts gains before the first record."""

    def predict(self, space: Space, allocations: Choices) -> Prediction:
        """Predict the gains of allocations: a list of them, or their choices as an array `(n, n_slots)`."""

    def update(self, space: Space, records: Sequence[Record]) -> Predictor:
        """Return a predictor conditioned on these records and no others; failed ones are left out."""


def predict_without_records(space: Space, choices: NDArray[np.int64]) -> Prediction:
    """Predict 0 ± 1 nat per token for every row of choices `(n, n_slots)`, and exactly 0 for the origin."""
    differs = np.any(choices != np.asarray(space.origin), axis=1)
    return Prediction(mean=np.zeros(len(choices)), std=differs.astype(np.float64))
