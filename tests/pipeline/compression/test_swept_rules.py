"""Widths first, types second, on a space small enough to try everything."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from rankadaptor.errors import BudgetError, InputError
from rankadaptor.features import SlotValues
from rankadaptor.pipeline.compression.swept_rules import choose_widths_first, list_widths_first
from rankadaptor.space import Limit, Slot, Space

BITS = {"Q8_0": 8, "Q4_0": 4, "none": 0}
LABELS = ((64, "Q8_0"), (64, "Q4_0"), (32, "Q8_0"), (32, "Q4_0"), (0, "none"))


def make_slot(name: str, labels: tuple[tuple[int, str] | str, ...], costs: list[int]) -> Slot:
    return Slot(
        name=name, component="toy", modules=(), options=labels, costs=(("bytes", tuple(costs)),),
        coordinates=tuple((float(index),) for index in range(len(labels))), block=0, kind=name,
    )  # fmt: skip


def make_space(bound: int) -> Space:
    half = [width * BITS[kind] for width, kind in LABELS]
    slots = [make_slot(name, LABELS, half) for name in ("attention", "mlp")]
    slots.append(make_slot("embedding", ("Q8_0", "Q4_0"), [800, 400]))
    return Space(tuple(slots), (Limit("bytes", bound),), references=(("dense", (0, 0, 0)),))


def find_by_trying(space: Space, values: SlotValues, kind: str) -> tuple[int, ...]:
    rows = [
        row
        for row in itertools.product(*(range(len(slot.options)) for slot in space.slots))
        if space.sum_costs([row], "bytes")[0] <= space.bounds[0]
    ]

    def read(row: tuple[int, ...]) -> list[tuple[int, str]]:
        labels = [space.slots[index].options[choice] for index, choice in enumerate(row)]
        return [label if isinstance(label, tuple) else (1, label) for label in labels]

    def total(row: tuple[int, ...]) -> float:
        return float(values.sum_values(space, np.array([row]))[0])

    one_type = [row for row in rows if {name for _, name in read(row)} <= {kind, "none"}]
    widths = [width for width, _ in read(min(one_type, key=total))]
    return min((row for row in rows if [width for width, _ in read(row)] == widths), key=total)


@pytest.mark.parametrize("seed", range(4))
def test_both_steps_are_exact(seed: int):
    space = make_space(1200)
    rows = np.random.default_rng(seed).uniform(size=(3, 5)).tolist()
    values = SlotValues.of_rows(space, rows)
    for kind in ("Q8_0", "Q4_0"):
        assert choose_widths_first(space, values, kind) == find_by_trying(space, values, kind)


def test_types_that_reach_no_limit_or_no_layer_are_left_out():
    space = make_space(700)
    values = SlotValues.of_rows(space, np.ones((3, 5)).tolist())
    assert [kind for kind, _ in list_widths_first(space, values, ("Q8_0", "Q4_0", "Q5_0"))] == ["Q4_0"]
    with pytest.raises(BudgetError, match=r"no allocation keeps"):
        choose_widths_first(space, values, "Q8_0")
    with pytest.raises(InputError, match=r"no option of the type Q5_0"):
        choose_widths_first(space, values, "Q5_0")
