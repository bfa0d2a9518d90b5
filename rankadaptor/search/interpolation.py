"""Slot values of all options from the few that a sweep measured.

Along one coordinate the value follows a power law between measured levels, ln v linear in ln |x|, which is
convex or concave as the measurements say, monotone and never negative. The exponent is shared by the slots of
a kind where a slot has a single level, and its level is interpolated over depth where it has none. An option
that differs in several coordinates has the sum of their values times a factor that the measured options of
the same coordinates tell (1 without any). Measured options keep their measured value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rankadaptor.errors import InputError
from rankadaptor.features import SlotValues
from rankadaptor.search.sweep import Support, group_by_support

if TYPE_CHECKING:
    from rankadaptor.corpus import Record
    from rankadaptor.space import Space

Floats = NDArray[np.float64]

EXPONENT = 1.5
"""Exponent of a coordinate of which no slot has two levels."""
STEEPEST = 4.0
FLATTEST = 0.25
SMALLEST = 1e-7
"""Nats per token below which a value counts as this value before its logarithm is taken."""


def estimate_slot_values(space: Space, records: Sequence[Record]) -> SlotValues:
    """Estimate the value of every option from records that differ from the first reference in one slot.

    Records that differ in more slots, and failed ones, are left out. A value is the loss of gain against the
    first reference (the increase of KL where the records have it), and at least 0.

    Raises:
        InputError: If a kind of slot has options of which none like it was measured.
    """
    measured = _read_records(space, records)
    groups = [group_by_support(slot) for slot in space.slots]
    curves = _Curves(space, measured, groups)
    factors = _fit_factors(space, measured, curves)
    rows = []
    for index, slot in enumerate(space.slots):
        row = np.zeros(len(slot.options))
        if slot.pinned is None and len(slot.options) > 1:
            for support, options in groups[index].items():
                for option in options:
                    own = curves.sum_axes(index, option, support)
                    row[option] = own * factors.read(index, support) if len(support) > 1 else own
        for option, value in measured.get(index, {}).items():
            row[option] = value
        rows.append(row.tolist())
    return SlotValues.of_rows(space, rows, measured=sum(len(each) for each in measured.values()))


def _read_records(space: Space, records: Sequence[Record]) -> dict[int, dict[int, float]]:
    """Return the measured value by slot and option; of several records the one with most tokens counts."""
    origin = np.asarray(space.origin)
    tokens: dict[tuple[int, int], int] = {}
    measured: dict[int, dict[int, float]] = {}
    for record in records:
        if record.gain is None:
            continue
        choices = np.asarray(space.find_choices(record.values))
        changed = np.flatnonzero(choices != origin)
        if len(changed) != 1:
            continue
        slot, option = int(changed[0]), int(choices[changed[0]])
        if record.tokens >= tokens.get((slot, option), -1):
            tokens[slot, option] = record.tokens
            measured.setdefault(slot, {})[option] = max(-record.gain, 0.0)
    return measured


@dataclass
class _Curves:
    """Power laws along the coordinates of all slots.

    Attributes:
        points: By slot and coordinate, the measured levels: (ln |x|, ln v), ascending and monotone.
        exponents: By kind and coordinate.
    """

    space: Space
    measured: dict[int, dict[int, float]]
    groups: Sequence[dict[Support, list[int]]]
    points: dict[tuple[int, int], Floats] = field(init=False)
    exponents: dict[tuple[str, int], float] = field(init=False)

    def __post_init__(self) -> None:
        self.points = {}
        slopes: dict[tuple[str, int], list[float]] = {}
        for index, values in self.measured.items():
            slot = self.space.slots[index]
            for support, options in self.groups[index].items():
                if len(support) > 1:
                    continue
                (axis,) = support
                pairs = [(abs(slot.coordinates[o][axis]), values[o]) for o in options if o in values]
                if not pairs:
                    continue
                levels = np.log(np.maximum(_merge_levels(pairs), [1e-12, SMALLEST]))
                self.points[index, axis] = levels
                if len(levels) > 1 and levels[-1, 0] > levels[0, 0]:
                    rise = (levels[-1, 1] - levels[0, 1]) / (levels[-1, 0] - levels[0, 0])
                    slopes.setdefault((slot.kind, axis), []).append(float(rise))
        self.exponents = {
            key: float(np.clip(np.median(each), FLATTEST, STEEPEST)) for key, each in slopes.items()
        }

    def sum_axes(self, index: int, option: int, support: Support) -> float:
        """Return the sum of the values that an option's coordinates have on their own."""
        vector = self.space.slots[index].coordinates[option]
        own = self._list_axes(index)
        return sum(self._read(index, axis, abs(vector[axis])) for axis in support if axis in own)

    def _list_axes(self, index: int) -> set[int]:
        return {support[0] for support in self.groups[index] if len(support) == 1}

    def _read(self, index: int, axis: int, size: float) -> float:
        slot, x = self.space.slots[index], float(np.log(max(size, 1e-12)))
        shared = self._find_exponent(slot.kind, axis)
        if (index, axis) in self.points:
            return float(np.exp(_follow(self.points[index, axis], x, shared)))
        others = [
            (self.space.slots[other].block, _follow(points, x, shared))
            for (other, along), points in sorted(self.points.items())
            if along == axis and self.space.slots[other].kind == slot.kind
        ]
        if not others:
            raise InputError(
                f"slot {slot.name!r}: no option like {slot.options[-1]} was measured in any slot of kind "
                f"{slot.kind!r}. Measure what plan_sweep proposes."
            )
        blocks, logs = np.array(sorted(others)).T
        return float(np.exp(np.interp(slot.block, blocks, logs)))

    def _find_exponent(self, kind: str, axis: int) -> float:
        if (kind, axis) in self.exponents:
            return self.exponents[kind, axis]
        same = [each for (_, along), each in sorted(self.exponents.items()) if along == axis]
        return float(np.median(same)) if same else EXPONENT


def _merge_levels(pairs: Sequence[tuple[float, float]]) -> Floats:
    """Average values of one level and make them monotone (isotonic regression), `(n, 2)`."""
    from sklearn.isotonic import IsotonicRegression

    sizes = sorted({size for size, _ in pairs})
    means = [float(np.mean([value for each, value in pairs if each == size])) for size in sizes]
    if len(sizes) > 1:
        means = IsotonicRegression().fit_transform(np.asarray(sizes), np.asarray(means)).tolist()
    return np.column_stack([sizes, means])


def _follow(points: Floats, x: float, exponent: float) -> float:
    """Read a curve in logarithms: linear between points, with a slope of its own beyond the last."""
    if x <= points[0, 0]:
        return float(points[0, 1] + exponent * (x - points[0, 0]))
    if x >= points[-1, 0]:
        if len(points) > 1:
            rise = (points[-1, 1] - points[-2, 1]) / (points[-1, 0] - points[-2, 0])
            exponent = float(np.clip(rise, 0.0, STEEPEST))
        return float(points[-1, 1] + exponent * (x - points[-1, 0]))
    return float(np.interp(x, points[:, 0], points[:, 1]))


@dataclass(frozen=True)
class _Factors:
    """Factors on sums of coordinates, by slot where it was measured, else by kind.

    Attributes:
        logs: By slot and coordinates, the logarithms that measured options tell.
        space: The space.
    """

    logs: dict[tuple[int, Support], float]
    space: Space

    def read(self, index: int, support: Support) -> float:
        """Return the factor of a slot: its own, or one interpolated over depth, or 1."""
        if (index, support) in self.logs:
            return float(np.exp(self.logs[index, support]))
        slot = self.space.slots[index]
        others = sorted(
            (self.space.slots[other].block, log)
            for (other, which), log in self.logs.items()
            if which == support and self.space.slots[other].kind == slot.kind
        )
        # The factor of a slot is mostly its own: the median of its kind says more than a neighbour's.
        return float(np.exp(np.median([log for _, log in others]))) if others else 1.0


def _fit_factors(space: Space, measured: dict[int, dict[int, float]], curves: _Curves) -> _Factors:
    logs = {}
    for index, values in measured.items():
        for support, options in curves.groups[index].items():
            known = [option for option in options if option in values]
            if len(support) < 2 or not known:
                continue
            ratios = [
                np.log(max(values[o], SMALLEST)) - np.log(max(curves.sum_axes(index, o, support), SMALLEST))
                for o in known
            ]
            logs[index, support] = float(np.mean(ratios))
    return _Factors(logs, space)
