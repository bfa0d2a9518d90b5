"""A component that this package does not know: width and bits of an MLP in one slot, under two limits."""

from __future__ import annotations

import itertools
import math

from rankadaptor.space import Limit, Slot, Space

CHANNELS = (32, 64, 96, 128)
BITS = (2, 4, 8)
FIXED = 40  # bytes of a slot's scales, whatever is chosen


def make_slot(block: int, *, pinned: int | None = None) -> Slot:
    """A slot of coupled options, whose costs are not monotone in one another."""
    options = tuple(itertools.product(CHANNELS, BITS))
    size = [channels * bits + FIXED for channels, bits in options]
    # 4-bit products are the slowest on this imaginary engine
    time = [channels * {2: 3, 4: 5, 8: 4}[bits] for channels, bits in options]
    return Slot(
        name=f"block{block}.mlp",
        component="width_and_bits",
        modules=(f"model.layers.{block}.mlp.up_proj", f"model.layers.{block}.mlp.down_proj"),
        options=options,
        costs=(("bytes", tuple(size)), ("latency", tuple(time))),
        coordinates=tuple((math.log(channels / 128), math.log(bits / 8)) for channels, bits in options),
        block=block,
        kind="mlp",
        pinned=pinned,
    )


def make_space(*, blocks: int = 6, size: int = 3000, time: int = 1400) -> Space:
    """A space over the slots of some blocks; its reference, the dense model, exceeds both limits."""
    slots = tuple(make_slot(block) for block in range(blocks))
    dense = slots[0].options.index((128, 8))
    return Space(
        slots=slots,
        limits=(Limit("bytes", size), Limit("latency", time)),
        references=(("dense", (dense,) * blocks),),
        model="toy",
    )
