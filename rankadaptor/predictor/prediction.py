"""What every predictor answers, and the contract it keeps."""

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
        std: How unsure that is, shape `(n,)`: the standard deviation of the true gain, without the noise of
            measuring.
        noise: Standard deviation of one measurement around the true gain, as far as the records tell; 0 when
            unknown.
        draws: Joint draws of the gains from the same belief, shape `(k, n)`, for Thompson sampling; None if
            the predictor has none.
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
        """Raise rather than let a fit that ran away pass for an answer."""
        parts = (self.mean, self.std, np.asarray(self.noise), self.draws)
        if not all(bool(np.isfinite(part).all()) for part in parts if part is not None):
            raise RankAdaptorError(
                "a predictor answered with numbers that are not finite. Its fit ran away: give it fewer "
                "steps or a smaller rate, or take another predictor (search.predictor)."
            )

    def __len__(self) -> int:
        return int(self.mean.size)


class Predictor(Protocol):
    """A belief about the gains of a space's allocations.

    A predictor is a value: `update` leaves it as it was and returns one that has seen the records. Pass
    **all** records of the search each time, since nothing is carried over from an earlier update:

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
        """Whether it says something useful before the first record."""

    def predict(self, space: Space, allocations: Choices) -> Prediction:
        """Predict the gains of allocations: a list of them, or their choices as an array `(n, n_slots)`."""

    def update(self, space: Space, records: Sequence[Record]) -> Predictor:
        """Return a predictor that has seen these records and no others; failed ones are left out."""


def predict_blindly(space: Space, choices: NDArray[np.int64]) -> Prediction:
    """Say 0 ± 1 nat per token of every row `(n, n_slots)` but the origin: nothing is known yet."""
    differs = np.any(choices != np.asarray(space.origin), axis=1)
    return Prediction(mean=np.zeros(len(choices)), std=differs.astype(np.float64))
