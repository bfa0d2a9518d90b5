from __future__ import annotations

import numpy as np
import pytest
import torch

from rankadaptor.components.precision import choose_formats, find_format, measure_rounding
from rankadaptor.components.precision.copies import RoundedCopies
from rankadaptor.components.precision.formats import round_trip
from rankadaptor.errors import InputError

WEIGHT = np.random.default_rng(0).standard_normal((6, 128)).astype(np.float32) * 0.05
NAMES = ("F32", "F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0", "MXFP4", "A4G32", "A3G32", "A2G32")


@pytest.mark.parametrize("name", NAMES)
def test_a_slice_of_the_copy_is_the_copy_of_the_slice(name) -> None:
    whole = round_trip(WEIGHT, name)
    for columns in (32, 64, 96):
        assert (round_trip(WEIGHT[:, :columns].copy(), name) == whole[:, :columns]).all()
    assert (round_trip(WEIGHT[2:5], name) == whole[2:5]).all()


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_an_affine_grid_rounds_to_the_nearest_of_its_levels(bits) -> None:
    grid = find_format(f"A{bits}G32")
    assert grid.bits == bits + 1
    assert grid.count_bytes(6, 128) == 6 * 128 * (bits + 1) // 8
    rounded = round_trip(WEIGHT, grid.name).reshape(-1, 32)
    groups = WEIGHT.reshape(-1, 32)
    assert max(len(np.unique(group)) for group in rounded) <= 2**bits
    step = np.ptp(groups, axis=1, keepdims=True) / (2**bits - 1)
    assert (np.abs(rounded - groups) <= step * 0.52 + 1e-4).all()  # scale and minimum are float16
    constant = np.full((1, 32), 0.25, dtype=np.float32)
    assert (round_trip(constant, grid.name) == constant).all()


def test_more_bits_round_less() -> None:
    errors = [measure_rounding(name) for name in ("A2G32", "A3G32", "Q4_0", "Q5_0", "Q8_0", "F32")]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] == 0.0


def test_formats_are_named_and_ordered_by_bits() -> None:
    assert [kind.name for kind in choose_formats(("Q8_0", "a4g32".upper(), "Q4_0"), what="precision")] == [
        "Q4_0", "A4G32", "Q8_0",
    ]  # fmt: skip
    assert [kind.name for kind in choose_formats("q4_0", what="precision")] == ["Q4_0"]
    for names, complaint in (
        (("Q9_0",), r"'Q9_0': allowed are the engine's types F32.*A4G32"),
        (("A9G32",), "allowed are"),
        (("A4G12",), "multiples of 8"),
        (("Q4_0", "q4_0"), "each of them once"),
        ((), "at least one"),
    ):
        with pytest.raises(InputError, match=complaint):
            choose_formats(names, what="precision")
    with pytest.raises(InputError, match="whole groups of 32"):
        round_trip(WEIGHT[:, :40], "A4G32")


def test_copies_are_made_once_and_cost_nothing_where_they_change_nothing() -> None:
    copies, weight = RoundedCopies(), torch.from_numpy(WEIGHT)
    order = torch.randperm(128, generator=torch.Generator().manual_seed(0))
    first = copies.get("a", weight, "Q4_0")
    assert copies.get("a", weight, "Q4_0") is first
    assert copies.bytes == first.numel() * 4
    turned = copies.get("a", weight, "Q4_0", columns=order)
    assert torch.equal(turned, torch.from_numpy(round_trip(WEIGHT[:, order.numpy()], "Q4_0")))
    assert not torch.equal(turned, first[:, order])
    assert copies.get("b", first, "Q4_0").data_ptr() == first.data_ptr()  # on the grid already
    half = copies.get("c", weight.bfloat16(), "Q4_0")
    assert half.dtype == torch.bfloat16
