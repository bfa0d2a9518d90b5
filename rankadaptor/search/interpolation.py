"""Slot values of all options from the few that a sweep measured.

Along one direction, slots of a kind share the shape of their curve: ln v of a level relative to the level
that most of them measured, linear in ln size between levels. A slot's own measurements shift this shape, by
an amount that is linear in ln size between them and constant beyond. A slot without measurements takes the
shift interpolated over depth. Values are never negative, zero at the reference, and monotone where the
shared shape is (it is not for types: rounding to a grid on which the weights already lie costs nothing).

A direction that contains another, such as {width, dropped}, has that one's value times a factor; options that
combine directions have the sum of their values times a factor. Factors are the slot's own where it was
measured, otherwise the median over its kind, otherwise 1. Measured options keep their measured value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rankadaptor.corpus.single_changes import SingleChanges, read_single_changes
from rankadaptor.errors import InputError
from rankadaptor.features import SlotValues
from rankadaptor.search.directions import SlotDirections, Support, find_directions

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.space import Space

Floats = NDArray[np.float64]

EXPONENT = 1.5
"""Slope of ln v over ln size where no slot has two levels."""
FLATTEST, STEEPEST = 0.25, 4.0
SMALLEST = 1e-7
"""Nats per token; smaller values count as this before their logarithm is taken."""
PULL = 0.1
"""Share of a rise below which a curve that falls somewhere still counts as monotone."""

Parts = tuple[Support, ...]


def estimate_slot_values(space: Space, records: Sequence[Record]) -> SlotValues:
    """Estimate the value of every option from records that differ from the first reference in one slot.

    Records that differ in more slots, and failed ones, are left out. A value is what the allocation loses
    against the first reference, −gain (the increase of KL where records have it), and at least 0.

    Raises:
        InputError: If a kind of slot has a direction along which none of its slots was measured.
    """
    measured = read_single_changes(space, records)
    directions = [find_directions(slot) for slot in space.slots]
    curves = _Curves(space, directions, measured)
    rows = []
    for index, slot in enumerate(space.slots):
        row = [0.0] * len(slot.options)
        if index in space.tables.searchable:
            row = [curves.value(index, option) for option in range(len(slot.options))]
        for option, value in measured.get(index, {}).items():
            row[option] = value
        rows.append(row)
    return SlotValues.of_rows(space, rows, measured=sum(len(each) for each in measured.values()))


@dataclass
class _Curves:
    """Curves along the directions of all slots, and factors of what they do not explain.

    Attributes:
        shapes: By kind and direction, the shared curve: rows (ln size, ln v less that of the anchor level).
        shifts: By slot and direction, its own measurements relative to the shape: rows (ln size, shift).
        factors: By slot and parts, ln of measured value over the sum of its parts.
    """

    space: Space
    directions: Sequence[SlotDirections]
    measured: SingleChanges
    shapes: dict[tuple[str, Support], Floats] = field(init=False, default_factory=dict)
    shifts: dict[tuple[int, Support], Floats] = field(init=False, default_factory=dict)
    factors: dict[tuple[int, Parts], float] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        points: dict[tuple[str, Support], dict[int, Floats]] = {}
        for index, values in self.measured.items():
            for direction, levels in self.directions[index].levels.items():
                known = [(size, values[option]) for size, option in levels if option in values]
                if known and direction not in self.directions[index].bases:
                    logs = np.log(np.maximum(np.array(known), [1e-12, SMALLEST]))
                    points.setdefault((self.space.slots[index].kind, direction), {})[index] = logs
        for key, by_slot in points.items():
            self.shapes[key] = _share_shape(list(by_slot.values()))
            for index, logs in by_slot.items():
                along = np.column_stack([logs[:, 0], logs[:, 1] - _read(self.shapes[key], logs[:, 0])])
                self.shifts[index, key[1]] = along
        for index, values in self.measured.items():
            for option, value in values.items():
                parts = self.directions[index].parts[option]
                if len(parts) > 1 or parts[0] in self.directions[index].bases:
                    expected = max(self._sum_parts(index, option), SMALLEST)
                    self.factors[index, parts] = float(np.log(max(value, SMALLEST) / expected))

    def value(self, index: int, option: int) -> float:
        """Return the estimated value of an option."""
        parts = self.directions[index].parts[option]
        total = self._sum_parts(index, option)
        if len(parts) == 1 and parts[0] not in self.directions[index].bases:
            return total
        return total * self._find_factor(index, parts)

    def _sum_parts(self, index: int, option: int) -> float:
        """Return the sum of an option's directions; of a direction with a base, what is known of it."""
        found = self.directions[index]
        total = 0.0
        for direction in found.parts[option]:
            base = found.bases.get(direction)
            along = self._follow(index, base or direction, found.sizes[option][base or direction])
            alone = base is not None and len(found.parts[option]) > 1
            total += along * (self._find_factor(index, (direction,)) if alone else 1.0)
        return total

    def _follow(self, index: int, direction: Support, size: float) -> float:
        kind, x = self.space.slots[index].kind, float(np.log(max(size, 1e-12)))
        if (kind, direction) not in self.shapes:
            raise InputError(
                f"slot {self.space.slots[index].name!r}: no slot of kind {kind!r} was measured along the "
                f"coordinates {direction}. Measure what plan_sweep proposes."
            )
        shape = self.shapes[kind, direction]
        own = self.shifts.get((index, direction))
        shift = np.interp(x, *own.T) if own is not None else self._interpolate_shift(index, direction)
        log = float(_read(shape, np.array([x]))[0] + shift)
        if own is not None and _rises(shape):  # monotone beside the slot's own measurements
            levels = own[:, 0], own[:, 1] + _read(shape, own[:, 0])
            log = min([log, *levels[1][levels[0] >= x].tolist()])
            log = max([log, *levels[1][levels[0] <= x].tolist()])
        return float(np.exp(log))

    def _interpolate_shift(self, index: int, direction: Support) -> float:
        slot = self.space.slots[index]
        pairs = sorted(
            (self.space.slots[other].block, float(own[:, 1].mean()))
            for (other, along), own in self.shifts.items()
            if along == direction and self.space.slots[other].kind == slot.kind
        )
        return float(np.interp(slot.block, *np.array(pairs).T))

    def _find_factor(self, index: int, parts: Parts) -> float:
        if (index, parts) in self.factors:
            return float(np.exp(self.factors[index, parts]))
        kind = self.space.slots[index].kind
        others = [
            log
            for (other, which), log in self.factors.items()
            if which == parts and self.space.slots[other].kind == kind
        ]
        return float(np.exp(np.median(others))) if others else 1.0


def _share_shape(curves: Sequence[Floats]) -> Floats:
    """Return the curve that slots share: ln size of every level, and ln v relative to the anchor level.

    The anchor is the level that most slots measured. Levels that no slot measured beside the anchor follow a
    power law.
    """
    sizes = np.unique(np.round(np.concatenate([curve[:, 0] for curve in curves]), 9))
    table = np.full((len(curves), len(sizes)), np.nan)
    for row, curve in enumerate(curves):
        table[row, np.searchsorted(sizes, np.round(curve[:, 0], 9))] = curve[:, 1]
    anchor = int(np.argmax((~np.isnan(table)).sum(axis=0)))
    relative = table - table[:, [anchor]]
    known = ~np.isnan(relative).all(axis=0)
    shape = np.column_stack([sizes[known], np.nanmedian(relative[:, known], axis=0)])
    if len(shape) > 2 and _rises(shape):
        shape[:, 1] = np.maximum.accumulate(shape[:, 1])
    return shape


def _rises(shape: Floats) -> bool:
    """Tell whether a curve is monotone but for a small part of its whole rise."""
    steps = np.diff(shape[:, 1])
    return bool(-steps[steps < 0].sum() <= PULL * max(float(steps[steps > 0].sum()), 1e-12))


def _read(shape: Floats, x: Floats) -> Floats:
    """Read a curve: linear between its points, a power law beyond them."""
    first, last = shape[0], shape[-1]
    slope = EXPONENT
    if len(shape) > 1:
        slope = float(np.clip((last[1] - first[1]) / (last[0] - first[0]), FLATTEST, STEEPEST))
    inside = np.interp(x, shape[:, 0], shape[:, 1])
    below, above = first[1] + slope * (x - first[0]), last[1] + slope * (x - last[0])
    read: Floats = np.where(x < first[0], below, np.where(x > last[0], above, inside))
    return read
