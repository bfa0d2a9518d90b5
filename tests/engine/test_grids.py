"""Weights on a grid: packing changes none of them, whatever scale they were made with."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankadaptor.engine import quantise, round_trip
from rankadaptor.engine.grids import GRIDS, pack_levels, read_scales


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(tuple(GRIDS)),
    seed=st.integers(0, 2**16),
    scale=st.sampled_from((1e-5, 0.02, 1.0, 300.0)),
    offset=st.sampled_from((0.0, 0.5, -3.0)),
    share=st.sampled_from((0.2, 0.5, 1.0)),
)
def test_weights_made_with_any_scale_stay_as_they_are(name, seed, scale, offset, share):
    generator = np.random.default_rng(seed)
    weights = generator.normal(offset * scale, scale, (4, 96)).astype(np.float32)
    step, low = read_scales(quantise(weights, name), name)
    codes = np.asarray(GRIDS[name].codes, np.float32)
    used = generator.permutation(len(codes))[: max(int(share * len(codes)), 2)]
    levels = generator.choice(used, (len(step), 32))
    levels[:, 0], levels[:, 1] = used[:2]  # at least two of them
    blocks = codes[levels] * step[:, None] + (0 if low is None else low[:, None])
    made = blocks.reshape(weights.shape)
    np.testing.assert_array_equal(round_trip(made, name), made)


@pytest.mark.parametrize("name", GRIDS)
def test_levels_are_packed_as_the_package_reads_them(name):
    generator = np.random.default_rng(0)
    codes = np.asarray(GRIDS[name].codes, np.float32)
    levels = generator.integers(0, len(codes), (50, 32))
    scale = generator.normal(0, 1, 50).astype(np.float16).astype(np.float32)
    low = scale[::-1].copy() if GRIDS[name].minimum else None
    packed = pack_levels(levels, scale, low, name)
    found = gguf.quants.dequantize(packed, gguf.GGMLQuantizationType[name])
    expected = codes[levels] * scale[:, None] + (0 if low is None else low[:, None])
    np.testing.assert_array_equal(found, expected)
    back, minimum = read_scales(packed, name)
    np.testing.assert_array_equal(back, scale)
    assert (minimum is None) == (low is None)


def test_blocks_on_no_grid_and_blocks_that_are_held_anyway_keep_the_engines_bytes():
    weights = np.random.default_rng(0).normal(0, 0.02, (3, 64)).astype(np.float32)
    plain = gguf.quants.quantize(weights, gguf.GGMLQuantizationType.Q4_0)
    np.testing.assert_array_equal(quantise(weights, "Q4_0"), plain)
    held = round_trip(weights, "Q4_0")
    np.testing.assert_array_equal(quantise(held, "Q4_0"), plain)
    held[1, :32] = np.float32(0.125) * np.arange(32).clip(0, 5)  # no level is the last one
    packed = quantise(held, "Q4_0")
    np.testing.assert_array_equal(np.delete(packed, 1, axis=0), np.delete(plain, 1, axis=0))
    np.testing.assert_array_equal(packed[1, 18:], plain[1, 18:])
    np.testing.assert_array_equal(round_trip(held, "Q4_0"), held)
    # With importance weights the bytes are the engine's own.
    weighed = round_trip(held, "Q4_0", importance=np.ones(64, np.float32))
    assert not np.array_equal(weighed, held)
