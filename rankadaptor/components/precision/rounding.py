"""Weight matrices rounded in torch, on any device, to the very numbers that a file of their type gives back.

`engine.quantisers` packs files; this is for training, which rounds every matrix at every step. Each operation
is the same single float32 operation as there, so that the numbers are equal; tests compare them. A zero may
have the other sign.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import torch

from rankadaptor.components.precision.formats import Grid, find_format
from rankadaptor.errors import InputError
from rankadaptor.runtime import QUANTISED

Rounding = Callable[[torch.Tensor], torch.Tensor]
"""Rounds a float32 matrix `(rows, columns)` without gradient; the result is a new one."""

NO_ZERO = ("Q5_1", "Q4_1", "IQ4_NL", "Q5_K", "Q4_K", "Q2_K")
"""Types of the engine without a level at zero."""


def find_rounding(name: str) -> Rounding:
    """Return the rounding of a type of the engine, an affine grid (`A3G32`), or `int8` or `nf4`.

    The last two are those of bitsandbytes.

    Types whose packing is a search (IQ4_NL and the K types) are rounded by the engine's own code on the CPU,
    which takes several times as long.

    Raises:
        InputError: If there is none of that name.
    """
    if name in QUANTISED:
        return partial(_round_by_bitsandbytes, kind=name)
    kind = find_format(name)
    if isinstance(kind, Grid):
        return partial(_round_to_grid, grid=kind)
    return _WRITTEN_OUT.get(kind.name, partial(_round_by_engine, kind=kind.name))


def is_quick(name: str) -> bool:
    """Tell whether rounding to a type takes a small part of a training step."""
    if name in QUANTISED:
        return name == "int8"
    kind = find_format(name)
    return isinstance(kind, Grid) or kind.name in _WRITTEN_OUT


def check_fit(name: str, columns: int, *, module: str) -> None:
    """Check that rows of this length can be stored in a type.

    Raises:
        InputError: If not; the message names the module.
    """
    if name in QUANTISED or (kind := find_format(name)).allows(columns):
        return
    raise InputError(
        f"{module}: {kind.name} stores rows of whole blocks of {kind.block} weights, not of {columns}. "
        "Choose another type for it, or a width that is a multiple."
    )


def keeps_zeros(name: str) -> bool:
    """Tell whether a weight of zero comes back from a type as zero."""
    if name in QUANTISED:
        return True
    kind = find_format(name)
    return not isinstance(kind, Grid) and kind.name not in NO_ZERO


def _round_symmetric(weight: torch.Tensor, *, half: int) -> torch.Tensor:
    """Round to Q4_0 or Q5_0: the weight furthest from zero becomes −half times the scale."""
    blocks = weight.reshape(-1, 32)
    high, low = blocks.amax(dim=1, keepdim=True), blocks.amin(dim=1, keepdim=True)
    furthest = torch.where(high > -low, high, low)
    tied = (high == -low).squeeze(1)
    if bool(tied.any()):  # the first of them decides the sign
        places = blocks[tied].abs().argmax(dim=1, keepdim=True)
        furthest[tied] = blocks[tied].gather(1, places)
    scale = furthest / -half
    stored, inverse = _store(scale)
    levels = (blocks * inverse).add_(half + 0.5).trunc_().clamp_(0, 2 * half - 1)
    return levels.sub_(half).mul_(stored).reshape(weight.shape)


def _round_from_minimum(weight: torch.Tensor, *, steps: int) -> torch.Tensor:
    """Round to Q4_1 or Q5_1: equal steps from the least weight of a block to its largest."""
    blocks = weight.reshape(-1, 32)
    low = blocks.amin(dim=1, keepdim=True)
    scale = (blocks.amax(dim=1, keepdim=True) - low) / steps
    stored, inverse = _store(scale)
    levels = (blocks - low).mul_(inverse).add_(0.5).trunc_().clamp_(0, steps)
    return levels.mul_(stored).add_(low.half().float()).reshape(weight.shape)


def _round_to_q8(weight: torch.Tensor) -> torch.Tensor:
    blocks = weight.reshape(-1, 32)
    furthest = torch.maximum(blocks.amax(dim=1, keepdim=True), -blocks.amin(dim=1, keepdim=True))
    stored, inverse = _store(furthest / 127)
    exact = blocks * inverse
    levels = exact.trunc()
    # Halves away from zero, as C's roundf has it; torch.round takes them to even numbers.
    levels.add_(exact.sub_(levels).mul_(2).trunc_())
    return levels.mul_(stored).reshape(weight.shape)


def _store(scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scales as float16 holds them, and the inverses of the exact ones, 0 where nothing is stored."""
    stored = scale.half().float()
    return stored, torch.where(stored == 0, 0.0, 1 / scale)


def _round_to_grid(weight: torch.Tensor, *, grid: Grid) -> torch.Tensor:
    grid.count_bytes(*weight.shape)  # refuses rows that do not fit
    groups, steps = weight.reshape(-1, grid.block), 2**grid.levels_bits - 1
    scale, low = derive_grid(weight, grid)
    levels = (groups - low).div_(torch.where(scale > 0, scale, 1.0)).round_().clamp_(0, steps)
    return levels.mul_(scale).add_(low).reshape(weight.shape)


def derive_grid(weight: torch.Tensor, grid: Grid) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scale and minimum of each group of a weight, `(groups, 1)`, as float16 holds them."""
    groups = weight.reshape(-1, grid.block)
    low = groups.amin(dim=1, keepdim=True)
    scale = (groups.amax(dim=1, keepdim=True) - low) / (2**grid.levels_bits - 1)
    return scale.half().float(), low.half().float()


def _round_by_engine(weight: torch.Tensor, *, kind: str) -> torch.Tensor:
    from rankadaptor.engine.quantisers import round_trip

    return torch.from_numpy(round_trip(weight.detach().cpu().numpy(), kind)).to(weight.device)


def _round_by_bitsandbytes(weight: torch.Tensor, *, kind: str) -> torch.Tensor:
    """Round as `load(..., quantise=kind)` does: a scale per row, or scales that are quantised in turn."""
    from bitsandbytes import functional

    if kind == "int8":
        codes, scales, _ = functional.int8_vectorwise_quant(weight.half())
        found: torch.Tensor = codes.float() * scales.float()[:, None] * (1 / 127)
        return found
    packed, state = functional.quantize_4bit(
        weight.contiguous(), blocksize=64, compress_statistics=True, quant_type="nf4"
    )
    rounded: torch.Tensor = functional.dequantize_4bit(packed, state)
    return rounded.to(weight.dtype)


_WRITTEN_OUT: Mapping[str, Rounding] = MappingProxyType(
    {
        "F32": torch.clone,
        "F16": lambda weight: weight.half().float(),
        "BF16": lambda weight: weight.bfloat16().float(),
        "Q8_0": _round_to_q8,
        "Q5_1": partial(_round_from_minimum, steps=31),
        "Q5_0": partial(_round_symmetric, half=16),
        "Q4_1": partial(_round_from_minimum, steps=15),
        "Q4_0": partial(_round_symmetric, half=8),
    }
)
