"""The prior over the coefficients of a model of damage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from rankadaptor.predictor.prediction import Floats

CONSTANT, SLOPE, CURVE, PAIRS, CONCENTRATION = "constant", "slope", "curve", "pairs", "concentration"
KIND, DEPTH, DEPTH2, TILT = "kind:", "depth:", "depth2:", "tilt:"
"""Prefixes: of features that a kind of slot, or a coordinate, has each for itself."""
OWN = (0.15, 0.4, 1.0)
"""Prior SD of a slot's own factor that are tried; half of it for tilts and pairs."""
REST = (0.02, 0.06, 0.2)
"""Prior SD of the smooth rest that are tried."""
SPREADS: Mapping[str, float] = MappingProxyType(
    {
        CONSTANT: 0.5, SLOPE: 0.3, CURVE: 0.0, PAIRS: 0.5, CONCENTRATION: 0.0,
        KIND: 0.4, DEPTH: 0.4, DEPTH2: 0.4, TILT: 0.0,
    }
)  # fmt: skip


@dataclass(frozen=True)
class DamagePrior:
    """Means and standard deviations of the coefficients that all slots share, and sizes of the others.

    Attributes:
        means: By name of the feature, or prefix of its name; 0 where neither is there.
        spreads: The same for standard deviations.
        own: Prior SD of a slot's own coefficients that are tried.
        rest: Prior SD of the smooth rest that are tried.
        centre: ln of the damage at which slope and curve are zero; None for the middle of the space.
    """

    means: Mapping[str, float] = field(default_factory=dict)
    spreads: Mapping[str, float] = field(default_factory=lambda: SPREADS)
    own: tuple[float, ...] = OWN
    rest: tuple[float, ...] = REST
    centre: float | None = None

    def lay_out(self, names: Sequence[str]) -> tuple[Floats, Floats]:
        """Return means and standard deviations of features by their names, `(n,)` each."""
        means = [_find(self.means, name, 0.0) for name in names]
        spreads = [_find(self.spreads, name, 0.0) for name in names]
        return np.array(means, dtype=np.float64), np.array(spreads, dtype=np.float64)


def _find(table: Mapping[str, float], name: str, default: float) -> float:
    prefix, colon, _ = name.partition(":")
    return table.get(name, table.get(prefix + colon, default))


SWEPT = DamagePrior()
"""The prior around values of a sweep."""
