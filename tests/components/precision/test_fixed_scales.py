"""Rounding to fixed scales: the start stays, weights move to the nearest level, and files hold the result."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rankadaptor.components.precision.fixed_scales import (
    FixedScales,
    choose_rounding,
    fix_scales,
    has_fixed_scales,
    is_quick_to_train,
)
from rankadaptor.components.precision.formats import find_format, round_trip
from rankadaptor.components.precision.rounding import find_rounding
from rankadaptor.engine.grids import GRIDS

AFFINE = ("A2G32", "A3G32", "A4G64", "A8G16")


def draw(seed: int = 0, *, offset: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(8, 128, generator=generator) + offset) * 0.05


@pytest.mark.parametrize("offset", [0.0, 2.0])
@pytest.mark.parametrize("name", [*GRIDS, *AFFINE])
def test_weights_on_the_grid_stay_and_others_go_to_the_nearest_level(name: str, offset: float) -> None:
    start = torch.from_numpy(round_trip(draw(offset=offset).numpy(), name))
    rounding = fix_scales(name, start)
    assert torch.equal(rounding(start), start)
    moved = start + 0.01 * draw(1)
    rounded = rounding(moved)
    assert torch.equal(rounding(rounded), rounded)
    assert not torch.equal(find_rounding(name)(moved), rounded)  # whose scales follow the weights
    if name in GRIDS:
        codes = torch.tensor(GRIDS[name].codes, dtype=torch.float32)
    else:
        codes = torch.arange(2.0 ** int(name[1]))
    levels = rounding.scale * codes + (0 if rounding.minimum is None else rounding.minimum)
    blocks = moved.reshape(len(rounding.scale), -1)
    nearest = (blocks[:, :, None] - levels[:, None]).abs().amin(dim=2)
    torch.testing.assert_close((rounded.reshape(blocks.shape) - blocks).abs(), nearest, rtol=1e-4, atol=1e-7)
    if name in GRIDS:
        np.testing.assert_array_equal(round_trip(rounded.numpy(), name), rounded.numpy())


def test_levels_out_of_range_become_the_last_and_empty_blocks_stay_empty() -> None:
    start = draw()
    start[0] = 0
    for name in GRIDS:
        rounding = fix_scales(name, start)
        far = rounding(100 * start.sign())
        assert torch.isfinite(far).all()
        assert not far[0].any()
        assert torch.equal(rounding(1e6 * start.sign()), far)


def test_types_without_scales_of_their_own_take_derived_ones() -> None:
    assert all(map(has_fixed_scales, (*GRIDS, *AFFINE)))
    assert not any(map(has_fixed_scales, ("F16", "F32", "MXFP4", "Q4_K", "int8", "nf4")))
    assert isinstance(choose_rounding("IQ4_NL", draw(), scales="fixed"), FixedScales)
    assert not isinstance(choose_rounding("IQ4_NL", draw(), scales="derived"), FixedScales)
    assert not isinstance(choose_rounding("F16", draw(), scales="fixed"), FixedScales)
    assert is_quick_to_train("IQ4_NL", scales="fixed")
    assert not is_quick_to_train("IQ4_NL", scales="derived")
    assert not is_quick_to_train("Q4_K", scales="fixed")
    assert find_format("Q4_K").block == 256
