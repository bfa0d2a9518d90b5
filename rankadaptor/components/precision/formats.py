"""How the weights of a slot may be stored: a type of the engine, or an affine grid. No torch import."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rankadaptor.engine.types import TYPES, find_type
from rankadaptor.errors import InputError

Floats = NDArray[np.float32]

NONE = "none"
"""Name in the label of a dropped half, which has no type."""
_GRID = re.compile(r"A([2-8])G(\d+)")
SAMPLE = (64, 256)  # of the normal numbers that a format's rounding is measured on


class Format(Protocol):
    """What a way of storing weights tells about itself; `engine.TensorType` does."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def block(self) -> int: ...  # noqa: D102
    @property
    def bits(self) -> float: ...  # noqa: D102
    def allows(self, columns: int) -> bool: ...  # noqa: D102
    def count_bytes(self, rows: int, columns: int) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class Grid:
    """An affine grid: each group of weights of a row has a scale and a minimum in float16.

    For research; GGUF files have no such type.

    Attributes:
        levels_bits: Bits of one weight, 2 to 8, without scale and minimum.
        block: Consecutive weights of a row that share them.
    """

    levels_bits: int
    block: int

    @property
    def name(self) -> str:
        """`A4G32` for 4 bits in groups of 32."""
        return f"A{self.levels_bits}G{self.block}"

    @property
    def bits(self) -> float:
        """Bits per weight, scales and minima included."""
        return self.levels_bits + 32 / self.block

    def allows(self, columns: int) -> bool:
        """Tell whether rows of this length can be stored."""
        return columns > 0 and columns % self.block == 0

    def count_bytes(self, rows: int, columns: int) -> int:
        """Count the bytes of a matrix.

        Raises:
            InputError: If rows of this length cannot be stored.
        """
        if not self.allows(columns):
            raise InputError(f"{self.name} stores rows of whole groups of {self.block}, not of {columns}.")
        return rows * (columns // self.block) * (self.block * self.levels_bits // 8 + 4)

    def round_trip(self, values: Floats) -> Floats:
        """Return the weights `(rows, columns)` as the grid holds them, rounded to nearest."""
        groups = values.astype(np.float32, copy=False).reshape(-1, self.block)
        low = groups.min(axis=1, keepdims=True)
        scale = (groups.max(axis=1, keepdims=True) - low) / np.float32(2**self.levels_bits - 1)
        low, scale = low.astype(np.float16).astype(np.float32), scale.astype(np.float16).astype(np.float32)
        steps = np.divide(groups - low, scale, out=np.zeros_like(groups), where=scale > 0)
        levels = np.clip(np.rint(steps), 0, 2**self.levels_bits - 1)
        rounded: Floats = (levels * scale + low).astype(np.float32).reshape(values.shape)
        return rounded


def find_format(name: str) -> Format:
    """Return a type of the engine or an affine grid (`A4G32`) by its name.

    Raises:
        InputError: If there is none of that name.
    """
    if isinstance(name, str) and (found := _GRID.fullmatch(name)):
        bits, group = int(found[1]), int(found[2])
        if not 8 <= group <= 1024 or group % 8:
            raise InputError(f"grid {name!r}: groups are multiples of 8 from 8 to 1024. A4G32 is usual.")
        return Grid(bits, group)
    if not isinstance(name, str) or name.upper() not in TYPES:
        raise InputError(
            f"precision {name!r}: allowed are the engine's types {', '.join(TYPES)}, and affine grids of 2 "
            "to 8 bits such as A4G32 (groups of 32; for research, GGUF files cannot hold them)."
        )
    return find_type(name)


def choose_formats(names: Sequence[str] | str, *, what: str) -> tuple[Format, ...]:
    """Return formats by rising bits; of equal bits, in the order given.

    Raises:
        InputError: If there is none, one is unknown, or one occurs twice.
    """
    found = [find_format(name) for name in ([names] if isinstance(names, str) else names)]
    given = [each.name for each in found]
    if not found or len(set(given)) < len(given):
        raise InputError(f"{what}={names!r}: give at least one name, each of them once.")
    return tuple(sorted(found, key=lambda each: each.bits))


def round_trip(values: Floats, name: str) -> Floats:
    """Return weights `(rows, columns)` as a format holds them, without importance weights.

    Then each block of a row is rounded by itself, so that a slice of the result that is cut between blocks is
    the result of the slice.

    Raises:
        InputError: If the rows do not fit the format.
        NonFiniteError: If a weight is not finite or out of range.
    """
    kind = find_format(name)
    if isinstance(kind, Grid):
        kind.count_bytes(*values.shape)  # refuses rows that do not fit
        return kind.round_trip(values)
    if kind.name == "F32":
        return values
    from rankadaptor.engine.quantisers import round_trip as round_trip_type

    return round_trip_type(values, kind.name)


@functools.cache
def measure_rounding(name: str) -> float:
    """Return the root mean square error of a format on standard normal numbers, rounded to 4 decimals."""
    numbers = np.random.default_rng(0).standard_normal(SAMPLE).astype(np.float32)
    return round(float(np.sqrt(np.square(round_trip(numbers, name) - numbers).mean())), 4)
