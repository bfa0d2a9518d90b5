"""Packing: the engine's own bytes for every type, errors for what no type can hold."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankadaptor import InputError
from rankadaptor.engine import TYPES, dequantise, quantise, round_trip
from rankadaptor.engine.library import load_quantiser
from rankadaptor.engine.quantisers import BY_PACKAGE, WITHOUT_IMPORTANCE
from rankadaptor.errors import NonFiniteError

# Largest root mean square of the error that the types leave on standard normal weights.
ERRORS = {
    "F32": 0, "F16": 3e-4, "BF16": 2e-3, "Q8_0": 0.006, "Q6_K": 0.02, "Q5_1": 0.04, "Q5_K": 0.04,
    "Q5_0": 0.05, "Q4_K": 0.08, "Q4_1": 0.09, "IQ4_NL": 0.09, "Q4_0": 0.1,
    "MXFP4": 0.13, "Q3_K": 0.17, "Q2_K": 0.33,
}  # fmt: skip


def draw(rows, columns, *, seed=0, scale=1.0):
    return np.random.default_rng(seed).normal(0, scale, (rows, columns)).astype(np.float32)


def pack_by_engine(values, name, importance=None):
    number = int(gguf.GGMLQuantizationType[name])
    packed = load_quantiser().pack(values, number, importance, count=TYPES[name].count_bytes(*values.shape))
    return packed.reshape(values.shape[0], -1)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(tuple(TYPES)),
    rows=st.integers(1, 5),
    blocks=st.integers(1, 4),
    seed=st.integers(0, 2**16),
    scale=st.sampled_from((0.0, 1e-6, 0.02, 1.0, 300.0)),
)
def test_bytes_are_the_engines_for_every_type_and_shape(name, rows, blocks, seed, scale):
    values = draw(rows, blocks * max(TYPES[name].block, 8), seed=seed, scale=scale)
    packed = quantise(values, name)
    assert packed.dtype == np.uint8
    assert packed.nbytes == TYPES[name].count_bytes(*values.shape)
    np.testing.assert_array_equal(packed, pack_by_engine(values, name))
    unpacked = dequantise(packed, name, values.shape)
    assert (unpacked.dtype, unpacked.shape) == (np.float32, values.shape)
    assert np.isfinite(unpacked).all()


@pytest.mark.parametrize("name", TYPES)
def test_a_round_trip_leaves_the_error_of_the_type_and_importance_moves_it(name):
    values = draw(64, 512)
    importance = np.ones(512, dtype=np.float32)
    importance[:64] = 1e4
    plain, weighed = round_trip(values, name), round_trip(values, name, importance=importance)
    error = np.square(plain - values)
    assert np.sqrt(error.mean()) <= ERRORS[name]
    np.testing.assert_array_equal(
        quantise(values, name, importance=importance), pack_by_engine(values, name, importance)
    )
    if name in WITHOUT_IMPORTANCE:
        np.testing.assert_array_equal(plain, weighed)
    else:
        assert (np.square(weighed - values) * importance).mean() < (error * importance).mean()


def test_what_the_package_can_write_is_known():
    found = set()
    for name in TYPES:
        try:
            gguf.quants.quantize(draw(1, 256), gguf.GGMLQuantizationType[name])
        except NotImplementedError:
            continue
        found.add(name)
    assert found == set(BY_PACKAGE)


def test_bad_input_is_named():
    values = draw(2, 64)
    with pytest.raises(InputError, match="whole blocks of 256 weights, and these rows have 64"):
        quantise(values, "Q4_K")
    with pytest.raises(InputError, match=r"shape \(64,\): give rows x columns"):
        quantise(values[0], "Q4_0")
    with pytest.raises(InputError, match=r"importance of shape \(2,\).*\(64,\)"):
        quantise(values, "Q4_0", importance=np.ones(2))
    with pytest.raises(InputError, match="at least 0"):
        quantise(values, "Q4_0", importance=-np.ones(64))
    with pytest.raises(InputError, match="72 bytes, not 36"):
        dequantise(quantise(values, "Q4_0")[:1], "Q4_0", (2, 64))
    for broken, word in ((np.nan, "NaN"), (np.inf, "infinite"), (1e6, "1e\\+06, and Q4_0 holds float16")):
        values[1, 3] = broken
        with pytest.raises(NonFiniteError, match=word):
            quantise(values, "Q4_0")
    assert round_trip(values, "BF16")[1, 3] == pytest.approx(1e6, rel=0.01)
    with pytest.raises(NonFiniteError, match="importance is NaN"):
        quantise(draw(2, 64), "Q4_0", importance=np.full(64, np.nan))
