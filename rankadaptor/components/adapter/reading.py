"""The rank and the scale that an allocation gives to every module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rankadaptor.components.adapter.coordinates import RANK, SCALE
from rankadaptor.components.adapter.ranks import ADAPTER_PARAMETERS, RANKS

if TYPE_CHECKING:
    from rankadaptor.space import Allocation, Label, Limit
    from rankadaptor.space.allocation import SlotSpace

MODES = {ADAPTER_PARAMETERS: "parameters", RANKS: "rank_sum"}
"""Names of budget units in run files and results."""


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
    """Return the adapter parameters of an allocation, for any unit of the budget."""
    return sum(
        slot.costs_in(ADAPTER_PARAMETERS)[slot.find_choice(value)]
        for slot, value in zip(space.slots, values, strict=True)
    )


def find_budget(space: SlotSpace) -> Limit | None:
    """Return the limit on adapter parameters or ranks; in other spaces the first limit, if any."""
    limited = {limit.resource: limit for limit in space.limits}
    return next((limited[name] for name in MODES if name in limited), next(iter(space.limits), None))


def describe_budget(space: SlotSpace) -> tuple[int | None, str | None]:
    """Return the bound of `find_budget` and its unit, for adapters `parameters` or `rank_sum`."""
    limit = find_budget(space)
    return (limit.bound, MODES.get(limit.resource, limit.resource)) if limit else (None, None)


def _read_size(label: object) -> int:
    if not isinstance(label, int):
        raise TypeError(f"the option {label!r} of an adapter slot is not a whole number")
    return label
