"""Weights that lie exactly on the grid of a type are packed with that grid.

A quantiser derives the scale of a block from its weights. Weights that were read from a file, or trained on
fixed scales, may get another scale than the one they were made with, and change. Here a scale is found of
which all weights of a block are levels, so that packing changes none of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from rankadaptor.engine.types import find_type

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

AT_ONCE = 1 << 15
"""Blocks that are searched together."""
PRECISION = np.float32(2.0**-22)
"""Share of the largest weight by which differences of weights may miss a multiple of the scale."""


@dataclass(frozen=True)
class BlockGrid:
    """The levels of a block of 32 weights: scale times code, and from a minimum where the type has one.

    Attributes:
        codes: By rising value. The packed number is the place in this list; of Q8_0 the code itself.
        minimum: Whether blocks have a minimum.
    """

    codes: tuple[int, ...]
    minimum: bool = False

    @property
    def contiguous(self) -> bool:
        """Whether the codes are whole numbers without a gap."""
        return self.codes[-1] - self.codes[0] == len(self.codes) - 1


GRIDS: Mapping[str, BlockGrid] = MappingProxyType(
    {
        "Q8_0": BlockGrid(tuple(range(-127, 128))),
        "Q5_1": BlockGrid(tuple(range(32)), minimum=True),
        "Q5_0": BlockGrid(tuple(range(-16, 16))),
        "Q4_1": BlockGrid(tuple(range(16)), minimum=True),
        "Q4_0": BlockGrid(tuple(range(-8, 8))),
        "IQ4_NL": BlockGrid(
            (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
        ),
    }
)  # fmt: skip
"""The types whose blocks have one scale in float16. Types with nested scales (K types) are not here."""


def read_scales(packed: Bytes, type_name: str) -> tuple[Floats, Floats | None]:
    """Return the scale of each block of packed weights, `(blocks,)`, and its minimum where the type has one.

    Args:
        packed: As `quantise` returns it.
        type_name: One of `GRIDS`.
    """
    raw = packed.reshape(-1, find_type(type_name).block_bytes)
    scale = np.ascontiguousarray(raw[:, :2]).view(np.float16)[:, 0].astype(np.float32)
    if not GRIDS[type_name].minimum:
        return scale, None
    return scale, np.ascontiguousarray(raw[:, 2:4]).view(np.float16)[:, 0].astype(np.float32)


def keep_grids(values: Floats, packed: Bytes, type_name: str) -> Bytes:
    """Return packed weights in which every block that lies on a grid of its type is held exactly.

    Blocks that are held exactly already keep their bytes, and so do those that lie on no grid.

    Args:
        values: The weights.
        packed: The same weights as a quantiser packed them.
        type_name: One of `GRIDS`.
    """
    import gguf

    blocks, kind = values.reshape(-1, 32), find_type(type_name)
    raw = packed.reshape(-1, kind.block_bytes)
    number = gguf.GGMLQuantizationType[kind.name]
    changed = False
    for start in range(0, len(blocks), AT_ONCE):
        for places, levels, scale, minimum in _find_grids(blocks[start : start + AT_ONCE], GRIDS[kind.name]):
            where = places + start
            held = gguf.quants.dequantize(np.ascontiguousarray(raw[where]), number)
            lost = (held != blocks[where]).any(axis=1)
            if lost.any():
                raw = raw if changed else raw.copy()
                changed = True
                low = None if minimum is None else minimum[lost]
                raw[where[lost]] = pack_levels(levels[lost], scale[lost], low, kind.name)
    return raw.reshape(packed.shape)


def pack_levels(levels: NDArray[np.int64], scale: Floats, minimum: Floats | None, type_name: str) -> Bytes:
    """Pack blocks of given levels and scales, `(blocks, bytes of a block)`.

    Args:
        levels: `(blocks, 32)` places in the codes of the type.
        scale: `(blocks,)` scales that float16 holds.
        minimum: The same of the minima, where the type has them.
        type_name: One of `GRIDS`.
    """
    grid = GRIDS[type_name]
    parts = [scale.astype(np.float16)[:, None].view(np.uint8)]
    if minimum is not None:
        parts.append(minimum.astype(np.float16)[:, None].view(np.uint8))
    if len(grid.codes) > 32:
        codes = np.asarray(grid.codes, np.int8)
        return np.concatenate([*parts, codes[levels].view(np.uint8)], axis=1)
    places = levels.astype(np.uint8)
    if len(grid.codes) == 32:
        parts.append(np.packbits(places >> np.uint8(4), axis=1, bitorder="little"))
        places = places & np.uint8(15)
    parts.append(places[:, :16] | (places[:, 16:] << np.uint8(4)))
    return np.concatenate(parts, axis=1)


Found = tuple[NDArray[np.int64], NDArray[np.int64], Floats, Floats | None]


def _find_grids(blocks: Floats, grid: BlockGrid) -> Iterator[Found]:
    """Yield places of blocks on a grid, their levels, scales and minima; every block at most once."""
    return _find_from_minimum(blocks, grid) if grid.minimum else _find_symmetric(blocks, grid)


def _find_symmetric(blocks: Floats, grid: BlockGrid) -> Iterator[Found]:
    """Try every code for the weight furthest from zero.

    A scale has 11 bits and a code 8 at most, so that their product is exact.
    """
    codes = np.asarray(grid.codes, np.float32)
    furthest = blocks[np.arange(len(blocks)), np.abs(blocks).argmax(axis=1)]
    left = np.flatnonzero(furthest)
    # Scales of both signs, of codes that are symmetric only one.
    tried = codes[codes > 0] if (codes == -codes[::-1]).all() else codes[codes != 0]
    for code in tried:
        scale = furthest[left] / code
        # The 13 bits that float16 does not have must be zero.
        short = (scale.view(np.uint32) & np.uint32(0x1FFF)) == 0
        places = left[short & (scale * code == furthest[left])]
        scale = furthest[places] / code
        with np.errstate(over="ignore"):
            fits = scale.astype(np.float16).astype(np.float32) == scale
        places, scale = places[fits], scale[fits]
        for column in range(32):
            values = blocks[places, column]
            nearest = _find_nearest(values / scale, codes)
            fits = scale * codes[nearest] == values
            places, scale = places[fits], scale[fits]
            if not len(places):
                break
        if len(places):
            yield places, _find_nearest(blocks[places] / scale[:, None], codes), scale, None
            left = np.setdiff1d(left, places, assume_unique=True)


def _find_nearest(values: Floats, codes: Floats) -> NDArray[np.int64]:
    """Return the place of the code that is nearest to each value."""
    return np.searchsorted((codes[1:] + codes[:-1]) / 2, values)


def _find_from_minimum(blocks: Floats, grid: BlockGrid) -> Iterator[Found]:
    """Try every number of steps between the least and the largest weight, then every level of the least."""
    last = grid.codes[-1]
    low, high = blocks.min(axis=1), blocks.max(axis=1)
    slack = np.maximum(np.abs(low), np.abs(high)) * PRECISION
    left = np.flatnonzero(high > low)
    for steps in range(last, 0, -1):
        span = high[left] - low[left]
        with np.errstate(over="ignore"):
            scale = (span / np.float32(steps)).astype(np.float16).astype(np.float32)
        near = (scale > 0) & (np.abs(scale * np.float32(steps) - span) <= slack[left])
        places, scale = left[near], scale[near]
        for column in range(32):
            above = blocks[places, column] - low[places]
            near = np.abs(np.rint(above / scale) * scale - above) <= slack[places]
            places, scale = places[near], scale[near]
            if not len(places):
                break
        for first in range(last - steps + 1):
            if not len(places):
                break
            levels = np.rint((blocks[places] - low[places, None]) / scale[:, None]) + np.float32(first)
            minimum = (low[places] - np.float32(first) * scale).astype(np.float16).astype(np.float32)
            exact = (scale[:, None] * levels + minimum[:, None] == blocks[places]).all(axis=1)
            if exact.any():
                yield places[exact], levels[exact].astype(np.int64), scale[exact], minimum[exact]
                left = np.setdiff1d(left, places[exact], assume_unique=True)
                places, scale = places[~exact], scale[~exact]
