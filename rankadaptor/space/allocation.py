"""An allocation: one choice per slot of a space."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rankadaptor.errors import InputError
from rankadaptor.space.slot import RANK, SCALE

if TYPE_CHECKING:
    from rankadaptor.space.space import Space

SCHEMA = 1
LISTED = 16  # values that a short form of an allocation names one by one


@dataclass(frozen=True)
class Allocation:
    """One option per slot (paper: R_H). Make it with `space.allocation(values)`, which checks it.

    Attributes:
        values: One option per slot, in the order of the space's slots.
        space: The space it belongs to; equality looks at the values only.
    """

    values: tuple[int, ...]
    space: Space = field(compare=False, repr=False)

    def __repr__(self) -> str:
        if len(self.values) <= LISTED:
            return f"Allocation(values={self.values})"
        lowest, highest = min(self.values), max(self.values)
        return f"Allocation({len(self.values)} slots, values {lowest} to {highest}, cost {self.cost:,})"

    @property
    def cost(self) -> int:
        """What it costs, in units of the budget (adapter parameters, or ranks in rank-sum mode)."""
        return self.space.cost(self.values)

    @property
    def is_uniform(self) -> bool:
        """Whether it is the space's reference."""
        return self.values == self.space.reference

    def by_slot(self) -> dict[str, int]:
        """Return the option of every slot, by the slot's name."""
        return {slot.name: value for slot, value in zip(self.space.slots, self.values, strict=True)}

    def by_module(self) -> dict[str, int]:
        """Return the rank of every module, by its full name."""
        return {
            module: value
            for slot, value in zip(self.space.slots, self.values, strict=True)
            if slot.role == RANK
            for module in slot.modules
        }

    def scale_factors(self) -> dict[str, float]:
        """Return the factor on the recipe's LoRA scale of every module that a scale slot speaks of."""
        factors: dict[str, float] = {}
        for slot, value in zip(self.space.slots, self.values, strict=True):
            if slot.role == SCALE:
                for module in slot.modules:
                    factors[module] = factors.get(module, 1.0) * value / 100
        return factors

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-like dict that names the model and the space it was made for."""
        return {
            "schema": SCHEMA,
            "model": self.space.model,
            "space": self.space.digest,
            "budget": self.space.budget,
            "cost": self.cost,
            "slots": self.by_slot(),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any], space: Space) -> Allocation:
        """Rebuild an allocation and check that it was made for this space.

        Raises:
            InputError: If it is not an allocation, or one of another model, menu or budget; the message says
                which.
            BudgetError: If it does not fit the budget.
        """
        if not isinstance(data, dict) or not isinstance(data.get("slots"), dict):
            raise InputError(
                "not an allocation: it needs the keys schema, space and slots. Write one with to_json()."
            )
        if data.get("schema") != SCHEMA:
            raise InputError(
                f"allocation of schema {data.get('schema')!r}, this version reads {SCHEMA}. Write it again "
                "with this version, or install the version that wrote it."
            )
        given, own = data["slots"], [slot.name for slot in space.slots]
        if data.get("space") != space.digest:
            made_for = (
                f"{data.get('model') or 'an unnamed model'} (space {data.get('space')}, {len(given)} slots"
            )
            made_for += f", budget {data.get('budget')})"
            ours = f"{space.model or 'an unnamed model'} (space {space.digest}, {len(own)} slots"
            ours += f", budget {space.budget})"
            same = list(given) == own and data.get("model") == space.model
            remedy = (
                "Build the space with the menu and budget it was made with, or bring it inside this one "
                "with space.repair(values)."
                if same
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
        return space.allocation([given[name] for name in own])
