"""What a model of damage reads of an allocation: the sum of its slot values, and how the sum is made up.

    ln D(a) = ln S(a) + w · x(a) + r(a)        S(a) = Σ over slots of v(slot, option)

The features x of a slot are its share of S, so that a coefficient is a relative error of the slot's values.
Shared features are a constant, slope and curve of ln S, shares of kinds and their course over depth, tilts
along the coordinates, terms of pairs of slots that follow one another, √(vᵢ vⱼ) / S, and the concentration of
the damage on few slots. Each slot besides has its own factor, its own tilts, and a term with the next slot.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rankadaptor.features import SlotValues
from rankadaptor.predictor.damage.prior import (
    CONCENTRATION,
    CONSTANT,
    CURVE,
    DEPTH,
    DEPTH2,
    KIND,
    PAIRS,
    SLOPE,
    TILT,
)
from rankadaptor.predictor.prediction import Floats

if TYPE_CHECKING:
    from rankadaptor.space import Space

Ints = NDArray[np.int64]
Singles = NDArray[np.float32]

SMALLEST = 1e-6
"""Nats per token; a smaller damage counts as this before its logarithm is taken."""


@dataclass(frozen=True, eq=False)
class DamageFeatures:
    """Features of the allocations of one space with given slot values.

    Attributes:
        names: Of the shared features.
        centre: ln S in the middle of the space.
    """

    names: tuple[str, ...]
    centre: float
    _damages: Singles
    _base: Ints
    _tilts: tuple[Singles, ...]
    _groups: Singles

    @classmethod
    def of(cls, space: Space, values: SlotValues) -> DamageFeatures:
        """Return the features of a space; built once and kept."""
        return _build(space, values)

    def sum_values(self, choices: Ints) -> Floats:
        """Return ln S of choices `(n, n_slots)`."""
        total = self._damages.take(choices + self._base).sum(axis=1)
        log: Floats = np.log(np.maximum(total, SMALLEST).astype(np.float64))
        return log

    def describe(self, choices: Ints, *, centre: float | None = None) -> tuple[Floats, Singles, Singles]:
        """Return ln S `(n,)`, shared features `(n, len(names))` and those of single slots `(n, m)`.

        Args:
            choices: `(n, n_slots)`.
            centre: ln of the damage at which slope and curve are zero; by default the middle of the space.
        """
        damages = self._damages.take(choices + self._base)
        total = np.maximum(damages.sum(axis=1), SMALLEST)
        log = np.log(total.astype(np.float64))
        shares = damages / total[:, None]
        pairs = np.sqrt(shares[:, :-1] * shares[:, 1:])
        centred = (log - (self.centre if centre is None else centre)).astype(np.float32)[:, None]
        tilts = [shares * tilt.take(choices + self._base) for tilt in self._tilts]
        shared = np.concatenate(
            [
                np.ones((len(choices), 1), dtype=np.float32),
                centred,
                centred**2,
                pairs.sum(axis=1, keepdims=True),
                (shares**2).sum(axis=1, keepdims=True),
                shares @ self._groups,
                *(tilt.sum(axis=1, keepdims=True) for tilt in tilts),
            ],
            axis=1,
        )
        return log, shared, np.concatenate([shares, *(0.5 * tilt for tilt in tilts), 0.5 * pairs], axis=1)


@functools.lru_cache(maxsize=16)
def _build(space: Space, values: SlotValues) -> DamageFeatures:
    """Lay slot values and standardised coordinates out flat, for looking up."""
    tables = space.tables
    used = tables.searchable
    damages = np.zeros(tables.costs[0].shape, dtype=np.float32)
    damages[used] = np.maximum(values.as_array(space)[used], 0.0)
    tilts = []
    for coordinate in tables.coordinates:
        size = np.abs(coordinate).max(axis=1, keepdims=True)
        scaled = np.where(size > 0, coordinate / np.where(size > 0, size, 1.0), 0.0)
        spread = scaled - scaled.mean(axis=1, keepdims=True)
        tilts.append(spread.ravel().astype(np.float32))
    kinds = sorted({slot.kind for slot in space.slots})  # as tables.kinds numbers them
    eye = np.eye(len(kinds), dtype=np.float32)[tables.kinds]
    depth = tables.depth[:, None]
    drawn = space.sample_choices(64, 0)
    total = damages.ravel().take(drawn + tables.columns * tables.n_options).sum(axis=1)
    return DamageFeatures(
        names=(
            CONSTANT, SLOPE, CURVE, PAIRS, CONCENTRATION,
            *(prefix + kind for prefix in (KIND, DEPTH, DEPTH2) for kind in kinds),
            *(f"{TILT}{number}" for number in range(len(tilts))),
        ),
        centre=float(np.log(np.maximum(total, SMALLEST)).mean()),
        _damages=damages.ravel(),
        _base=tables.columns * tables.n_options,
        _tilts=tuple(tilts),
        _groups=np.concatenate([eye, eye * depth, eye * (depth**2 - 1 / 3)], axis=1).astype(np.float32),
    )  # fmt: skip
