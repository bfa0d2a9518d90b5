"""An allocation: one option per slot of a space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from rankadaptor.errors import InputError
from rankadaptor.space.limits import Limit
from rankadaptor.space.slot import Label, Slot, read_label

SCHEMA = 2
LISTED = 16  # values that a short form of an allocation names one by one


class SlotSpace(Protocol):
    """What an allocation needs of its space; `Space` has it.

    `rankadaptor.space.space` imports this module to make allocations, so that `Space` cannot be named here.
    """

    @property
    def slots(self) -> tuple[Slot, ...]:
        """See `Space`."""

    @property
    def limits(self) -> tuple[Limit, ...]:
        """See `Space`."""

    @property
    def model(self) -> str:
        """See `Space`."""

    @property
    def bounds(self) -> tuple[int, ...]:
        """See `Space`."""

    @property
    def origin(self) -> tuple[int, ...]:
        """See `Space`."""

    @property
    def digest(self) -> str:
        """See `Space`."""

    def allocation(self, values: Sequence[Any]) -> Allocation:
        """See `Space`."""

    def reference(self, name: str | None = None) -> Allocation:
        """See `Space`."""


@dataclass(frozen=True)
class Allocation:
    """One option per slot (paper: R_H). Make it with `space.allocation(values)`, which checks it.

    Attributes:
        choices: Index of the option that each slot takes, in the order of the space's slots.
        space: The space it belongs to; equality looks at the choices only.
    """

    choices: tuple[int, ...]
    space: SlotSpace = field(compare=False, repr=False)

    def __repr__(self) -> str:
        if len(self.choices) <= LISTED:
            return f"Allocation(values={self.values})"
        costs = ", ".join(
            f"{self.cost(limit.resource):,} of {limit.bound:,} {limit.name}" for limit in self.space.limits
        )
        return f"Allocation({len(self.choices)} slots" + (f", {costs})" if costs else ")")

    @property
    def values(self) -> tuple[Label, ...]:
        """The label of the option that each slot takes."""
        return tuple(
            slot.options[choice] for slot, choice in zip(self.space.slots, self.choices, strict=True)
        )

    @property
    def is_reference(self) -> bool:
        """Whether it is the first reference of its space."""
        return self.choices == self.space.origin

    def cost(self, resource: str | None = None) -> int:
        """Return what it costs in a resource; by default in that of the first limit."""
        name = resource if resource is not None else self.space.limits[0].resource
        return sum(
            slot.costs_in(name)[choice] for slot, choice in zip(self.space.slots, self.choices, strict=True)
        )

    def by_slot(self, component: str | None = None) -> dict[str, Label]:
        """Return the label of every slot, or of those of one component, by the slot's name."""
        return {
            slot.name: slot.options[choice]
            for slot, choice in zip(self.space.slots, self.choices, strict=True)
            if component is None or slot.component == component
        }

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-like dict that names the model and the space it was made for."""
        return {
            "schema": SCHEMA,
            "model": self.space.model,
            "space": self.space.digest,
            "limits": {limit.resource: limit.bound for limit in self.space.limits},
            "costs": {limit.resource: self.cost(limit.resource) for limit in self.space.limits},
            "slots": {
                name: list(label) if isinstance(label, tuple) else label
                for name, label in self.by_slot().items()
            },
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], space: SlotSpace) -> Allocation:
        """Rebuild an allocation and check that it was made for this space.

        Files of schema 1, which hold ranks and a budget, are read too: the budget and the slots must be the
        space's.

        Raises:
            InputError: If it is not an allocation, or one of another model, menu or limit; the message says
                which.
            BudgetError: If it does not keep the limits.
        """
        if not isinstance(data, dict) or not isinstance(data.get("slots"), dict):
            raise InputError(
                "not an allocation: it needs the keys schema, space and slots. Write one with to_json()."
            )
        schema = data.get("schema")
        if schema not in (1, SCHEMA):
            raise InputError(
                f"allocation of schema {schema!r}, this version reads 1 and {SCHEMA}. Write it again "
                "with this version, or install the version that wrote it."
            )
        given, own = data["slots"], [slot.name for slot in space.slots]
        bounds = {limit.resource: limit.bound for limit in space.limits}
        stored = data.get("limits") if schema == SCHEMA else dict.fromkeys(bounds, data.get("budget"))
        same_space = data.get("space") == space.digest if schema == SCHEMA else (
            data.get("model") == space.model and stored == bounds
        )  # fmt: skip
        if not same_space:
            made_for = f"{data.get('model') or 'an unnamed model'} ({len(given)} slots, limits {stored})"
            ours = f"{space.model or 'an unnamed model'} ({len(own)} slots, limits {bounds})"
            remedy = (
                "Build the space with the options and limits it was made with, or bring it inside this one "
                "with space.repair(values)."
                if list(given) == own and data.get("model") == space.model
                else "Load the model it was made for, or search again on this one."
            )
            raise InputError(
                f"this allocation was made for {made_for}; the space at hand is {ours}. {remedy}"
            )
        if set(given) != set(own):
            raise InputError(
                f"this allocation names the slots {sorted(set(given) ^ set(own))[:5]} that differ from the "
                "space's. The file was edited; write it again with to_json()."
            )
        return space.allocation([read_label(given[name]) for name in own])
