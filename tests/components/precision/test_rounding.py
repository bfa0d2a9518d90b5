"""Rounding in torch gives the numbers of the file's own packing; rounded weights round to themselves."""

from __future__ import annotations

import importlib.util

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rankadaptor import InputError
from rankadaptor.components.precision.formats import find_format, round_trip
from rankadaptor.components.precision.rounding import NO_ZERO, check_fit, find_rounding, keeps_zeros
from rankadaptor.engine import TYPES

WRITTEN_OUT = ("F32", "F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0")
GRIDS = ("A2G32", "A3G32", "A4G64", "A5G8", "A8G128")
NEEDS_BITSANDBYTES = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"
)
# Halves and neighbours of steps, ties in magnitude, tiny, subnormal and huge numbers, both zeros.
NASTY = (
    0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, 0.49999997, 7.5, -8.0, 127.0, 63.5, 1e-3, 1e-8, -3e-8, 1e-38,
    1e-45, 6e4, -6e4, 0.1, 1 / 3, np.float32(1) - np.float32(2**-24),
)  # fmt: skip


@st.composite
def matrices(draw: st.DrawFn, columns: int) -> np.ndarray:
    """Random, constant, nearly constant, offset and nasty rows, of several magnitudes."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = []
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(("normal", "steps", "nasty", "offset", "mixed")))
        scale = draw(st.sampled_from((1e-30, 1e-6, 0.02, 1.0, 300.0)))
        row = generator.normal(0, scale, columns)
        if kind == "steps":
            row = generator.integers(-20, 21, columns) * (scale / 2)
        elif kind == "nasty":
            row = generator.choice(np.array(NASTY), columns)
        elif kind == "offset":
            row = row + draw(st.sampled_from((1.0, -7.0, 1000.0)))
        elif kind == "mixed":
            row[generator.random(columns) < 0.7] = draw(st.sampled_from(NASTY))
        rows.append(row)
    return np.asarray(rows, np.float32)


def derive(values: np.ndarray, name: str) -> np.ndarray:
    """Round with the scales that the package derives, also where all weights lie on another grid already."""
    if name not in TYPES:
        return round_trip(values, name)
    kind = gguf.GGMLQuantizationType[name]
    return gguf.quants.dequantize(gguf.quants.quantize(values, kind), kind)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(data=st.data(), name=st.sampled_from((*WRITTEN_OUT, *GRIDS)))
def test_numbers_are_those_of_the_file(data: st.DataObject, name: str) -> None:
    block = max(find_format(name).block, 8)
    values = data.draw(matrices(block * data.draw(st.integers(1, 3))))
    rounded = find_rounding(name)(torch.from_numpy(values))
    np.testing.assert_array_equal(rounded.numpy(), derive(values, name))
    assert rounded.data_ptr() != torch.from_numpy(values).data_ptr()


@pytest.mark.parametrize("name", [name for name in TYPES if name not in WRITTEN_OUT])
def test_searched_types_are_rounded_by_the_engine(name: str) -> None:
    values = np.random.default_rng(0).normal(0, 0.05, (3, 256)).astype(np.float32)
    np.testing.assert_array_equal(
        find_rounding(name)(torch.from_numpy(values)).numpy(), round_trip(values, name)
    )


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    name=st.sampled_from((*WRITTEN_OUT, "MXFP4", *GRIDS)),
    seed=st.integers(0, 2**16),
    scale=st.sampled_from((0.02, 1.0, 300.0)),  # far below, float16 holds scales with fewer bits
    offset=st.sampled_from((0.0, 0.5, -3.0)),
)
def test_rounded_weights_round_to_themselves(name: str, seed: int, scale: float, offset: float) -> None:
    values = np.random.default_rng(seed).normal(offset * scale, scale, (4, 256)).astype(np.float32)
    rounding = find_rounding(name)
    rounded = rounding(torch.from_numpy(values))
    assert torch.equal(rounding(rounded), rounded)


@pytest.mark.parametrize("name", TYPES)
def test_zeros_come_back_where_a_type_is_said_to_have_one(name: str) -> None:
    values = np.random.default_rng(3).normal(0.01, 0.05, (8, 256)).astype(np.float32)
    values[:, ::3] = 0
    back = find_rounding(name)(torch.from_numpy(values))[:, ::3]
    assert bool((back == 0).all()) == keeps_zeros(name) == (name not in NO_ZERO)


@NEEDS_BITSANDBYTES
@pytest.mark.parametrize("name", ["int8", "nf4"])
def test_bitsandbytes_keeps_zeros(name: str) -> None:
    values = torch.randn(32, 64, generator=torch.Generator().manual_seed(0)) * 0.05
    values[:, ::3] = 0
    rounded = find_rounding(name)(values)
    assert bool((rounded[:, ::3] == 0).all())
    assert keeps_zeros(name)
    assert 0 < float((rounded - values).abs().max()) < 0.05


def test_rows_that_do_not_fit_are_named() -> None:
    check_fit("Q4_0", 64, module="a")
    with pytest.raises(
        InputError, match=r"model\.x: Q4_0 stores rows of whole blocks of 32 weights, not of 40"
    ):
        check_fit("Q4_0", 40, module="model.x")
    with pytest.raises(InputError, match="allowed are the engine's types"):
        find_rounding("Q9")
