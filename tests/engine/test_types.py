"""Tensor types: sizes are llama.cpp's, and illegal rows are named with the nearest legal ones."""

from __future__ import annotations

import gguf
import pytest

from rankadaptor import InputError
from rankadaptor.engine import TYPES, find_type


def test_sizes_are_those_of_the_format():
    for name, kind in TYPES.items():
        assert (kind.block, kind.block_bytes) == gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    assert {name: TYPES[name].bits for name in ("F16", "Q8_0", "Q4_0", "MXFP4", "Q6_K")} == {
        "F16": 16, "Q8_0": 8.5, "Q4_0": 4.5, "MXFP4": 4.25, "Q6_K": 6.5625
    }  # fmt: skip
    assert find_type("q4_k") is TYPES["Q4_K"]
    assert TYPES["Q4_0"].count_bytes(3, 64) == 3 * 2 * 18


@pytest.mark.parametrize(
    ("name", "columns", "nearest"),
    [("Q4_0", 100, "96 or 128"), ("Q4_0", 7, "are 32"), ("Q6_K", 576, "512 or 768"), ("Q8_0", 0, "are 32")],
)
def test_a_row_that_is_no_whole_number_of_blocks_is_refused(name, columns, nearest):
    with pytest.raises(InputError, match=nearest) as caught:
        TYPES[name].count_bytes(2, columns)
    assert f"these rows have {columns}" in str(caught.value)
    assert ("multiples of 32" in str(caught.value)) == name.endswith("K")


def test_an_unknown_type_is_refused_with_all_names():
    with pytest.raises(InputError, match=r"no tensor type 'Q4_X'.*MXFP4.*Q2_K"):
        find_type("Q4_X")
