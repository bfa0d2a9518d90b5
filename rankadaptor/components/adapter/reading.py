"""What an allocation means to LoRA: a rank and a scale for every module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rankadaptor.components.adapter.coordinates import RANK, SCALE
from rankadaptor.components.adapter.ranks import ADAPTER_PARAMETERS

if TYPE_CHECKING:
    from rankadaptor.space import Allocation, Label
    from rankadaptor.space.allocation import SlotSpace

MODES = {ADAPTER_PARAMETERS: "parameters"}
"""How run files and results name the unit of a budget; any other is a sum of ranks."""


def read_ranks(allocation: Allocation) -> dict[str, int]:
    """Return the rank of every module, by its full name."""
    return {
        module: _read_size(label)
        for slot, label in zip(allocation.space.slots, allocation.values, strict=True)
        if slot.component == RANK
        for module in slot.modules
    }


def read_sizes(allocation: Allocation) -> tuple[int, ...]:
    """Return the rank, or the per cent of the scale, of every slot."""
    return tuple(_read_size(label) for label in allocation.values)


def read_scales(allocation: Allocation) -> dict[str, float]:
    """Return the factor on the recipe's LoRA scale of every module that a scale slot covers."""
    factors: dict[str, float] = {}
    for slot, label in zip(allocation.space.slots, allocation.values, strict=True):
        if slot.component == SCALE:
            for module in slot.modules:
                factors[module] = factors.get(module, 1.0) * _read_size(label) / 100
    return factors


def count_parameters(space: SlotSpace, values: Sequence[Label]) -> int:
    """Return the adapter parameters of ranks, whatever the space counts its budget in."""
    return sum(
        slot.costs_in(ADAPTER_PARAMETERS)[slot.find_choice(value)]
        for slot, value in zip(space.slots, values, strict=True)
    )


def describe_budget(space: SlotSpace) -> tuple[int, str]:
    """Return the budget of a space of ranks and its unit, `parameters` or `rank_sum`."""
    limit = space.limits[0]
    return limit.bound, MODES.get(limit.resource, "rank_sum")


def _read_size(label: object) -> int:
    if not isinstance(label, int):
        raise TypeError(f"the option {label!r} of an adapter slot is not a whole number")
    return label
