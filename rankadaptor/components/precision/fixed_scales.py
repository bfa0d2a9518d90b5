"""Weights rounded in torch to levels whose scales do not change: those of the start of a training.

A scale that follows the weights moves every level of its block with the largest weight. Weights that lie on a
grid, as those of a model that was quantised before, then leave it at the first update. With fixed scales only
those weights change whose update carries them to another level.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rankadaptor.components.precision.formats import Grid, find_format
from rankadaptor.components.precision.rounding import Rounding, derive_grid, find_rounding, is_quick
from rankadaptor.engine.grids import GRIDS, BlockGrid, read_scales
from rankadaptor.methods import FIXED
from rankadaptor.runtime import QUANTISED


def has_fixed_scales(name: str) -> bool:
    """Tell whether a type has scales that a training can keep.

    The types of the engine with one scale per block do, and affine grids. F16, BF16 and F32 have no scales; K
    types and MXFP4, int8 and nf4 follow the weights.
    """
    if name in QUANTISED:
        return False
    kind = find_format(name)
    return isinstance(kind, Grid) or kind.name in GRIDS


def choose_rounding(name: str, weight: torch.Tensor, *, scales: str) -> Rounding:
    """Return the rounding of a type for a training that starts from a weight.

    Args:
        name: A name that `find_rounding` knows.
        weight: The weight `(rows, columns)` at the start, whose scales are kept with `fixed`: those that the
            engine's own quantiser packs for it.
        scales: `fixed` or `derived`. Types without fixed scales take derived ones.
    """
    return fix_scales(name, weight) if scales == FIXED and has_fixed_scales(name) else find_rounding(name)


def is_quick_to_train(name: str, *, scales: str) -> bool:
    """Tell whether rounding to a type takes a small part of a training step."""
    return (scales == FIXED and has_fixed_scales(name)) or is_quick(name)


@dataclass(frozen=True)
class FixedScales:
    """The rounding to the nearest level of each block; levels out of range become the last one.

    Attributes:
        scale: `(blocks, 1)` in float32.
        inverse: Its inverse, zero where the scale is.
        minimum: `(blocks, 1)`; None for types without.
        last: Lowest and highest code.
        table: Codes by twice the value in scales, from −256 on; None where the codes have no gap.
    """

    scale: torch.Tensor
    inverse: torch.Tensor
    minimum: torch.Tensor | None
    last: tuple[int, int]
    table: torch.Tensor | None

    def __call__(self, weight: torch.Tensor) -> torch.Tensor:
        """Round a float32 matrix of the shape that the scales were taken from."""
        here = self if self.scale.device == weight.device else self._move(weight.device)
        blocks = weight.reshape(len(here.scale), -1)
        levels = blocks * here.inverse if here.minimum is None else (blocks - here.minimum).mul_(here.inverse)
        if here.table is None:
            levels.round_().clamp_(*here.last)
        else:
            levels = here.table[levels.mul_(2).floor_().clamp_(-256, 255).add_(256).long()]
        levels.mul_(here.scale)
        if here.minimum is not None:
            levels.add_(here.minimum)
        return levels.reshape(weight.shape)

    def _move(self, device: torch.device) -> FixedScales:
        return FixedScales(
            self.scale.to(device),
            self.inverse.to(device),
            None if self.minimum is None else self.minimum.to(device),
            self.last,
            None if self.table is None else self.table.to(device),
        )


def fix_scales(name: str, weight: torch.Tensor) -> FixedScales:
    """Return the rounding of a type with the scales that a weight has in it.

    Args:
        name: A type that `has_fixed_scales`.
        weight: The weight `(rows, columns)`.
    """
    kind, start = find_format(name), weight.detach().float()
    if isinstance(kind, Grid):
        scale, low = derive_grid(start, kind)
        return FixedScales(scale, _invert(scale), low, (0, 2**kind.levels_bits - 1), None)
    from rankadaptor.engine.quantisers import quantise

    grid = GRIDS[kind.name]
    scales, minima = read_scales(quantise(start.cpu().numpy(), kind.name), kind.name)
    scale = torch.from_numpy(scales)[:, None].to(weight.device)
    minimum = None if minima is None else torch.from_numpy(minima)[:, None].to(weight.device)
    table = None if grid.contiguous else _tabulate(grid).to(weight.device)
    return FixedScales(scale, _invert(scale), minimum, (grid.codes[0], grid.codes[-1]), table)


def _invert(scale: torch.Tensor) -> torch.Tensor:
    return torch.where(scale == 0, 0.0, 1 / scale)


def _tabulate(grid: BlockGrid) -> torch.Tensor:
    """Return the nearest code for each half of a scale: the middle between two codes is a whole half."""
    codes = torch.tensor(grid.codes, dtype=torch.float32)
    middles = (codes[1:] + codes[:-1]) / 2
    return codes[torch.bucketize(torch.arange(-256, 256) / 2 + 0.25, middles)]
