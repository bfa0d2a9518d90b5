"""A slot: linears that share one choice, and what each choice costs."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

from rankadaptor.errors import InputError

LARGEST_COST = 1 << 44
RANK, SCALE = "rank", "scale"
ROLES = (RANK, SCALE)
"""What a slot's options mean to recovery: a LoRA rank, or per cent of the recipe's LoRA scale."""


@dataclass(frozen=True)
class Slot:
    """Modules that share one integer choice: the rank of a block today, a width or a bit-width another day.

    Nothing here knows what an option means; the cost of each option is a table, in the unit of the space's
    budget.

    Attributes:
        name: Unique in its space, for example `block3`, `block3.mlp` or `block3.q_proj`.
        modules: Full names of the modules that take the choice.
        options: Allowed values, ascending.
        costs: One per option, strictly ascending, in units of the budget; or all 0 for a choice that is free.
        block: Index of the decoder block.
        kind: What slots of different blocks have in common: `block`, `attention`, `mlp`, `q_proj`, ...
        attributes: Named numbers that describe the slot to a predictor.
        pinned: The one option this slot always takes, or None where the search may choose.
        role: What the options mean, one of `ROLES`; space, predictor and search do not look at it.
    """

    name: str
    modules: tuple[str, ...]
    options: tuple[int, ...]
    costs: tuple[int, ...]
    block: int
    kind: str
    attributes: tuple[tuple[str, float], ...] = ()
    pinned: int | None = None
    role: str = RANK

    def __post_init__(self) -> None:
        if not self.options or len(self.options) != len(self.costs):
            raise InputError(
                f"slot {self.name!r}: {len(self.options)} options and {len(self.costs)} costs. Give at least "
                "one option and exactly one cost for each."
            )
        if not _ascends(self.options) or self.options[0] < 0:
            raise InputError(
                f"slot {self.name!r}: options {self.options}. They must be distinct whole numbers ≥ 0, "
                "ascending."
            )
        rising = _ascends(self.costs) or not any(self.costs)
        if not rising or self.costs[0] < 0 or self.costs[-1] > LARGEST_COST:
            raise InputError(
                f"slot {self.name!r}: costs {self.costs}. They must rise with the options, from ≥ 0 to at "
                "most 2^44, or all be 0."
            )
        if self.role not in ROLES:
            raise InputError(f"slot {self.name!r}: role {self.role!r}; allowed are {', '.join(ROLES)}.")
        if self.pinned is not None and self.pinned not in self.options:
            raise InputError(f"slot {self.name!r}: pinned at {self.pinned}; allowed are {self.options}.")
        if not all(math.isfinite(value) for _, value in self.attributes):
            raise InputError(f"slot {self.name!r}: attributes {self.attributes}. All must be finite numbers.")

    def cost(self, value: int) -> int:
        """Return what one option costs.

        Raises:
            InputError: If `value` is not an option of this slot.
        """
        try:
            return self.costs[self.options.index(value)]
        except ValueError:
            raise InputError(
                f"slot {self.name!r}: {value} is not one of its options {self.options}. Choose one of them."
            ) from None

    def attribute(self, name: str, default: float = 0.0) -> float:
        """Return a named attribute, or `default` where the slot does not have it."""
        return dict(self.attributes).get(name, default)

    def to_json(self) -> dict[str, Any]:
        """Return the slot as a JSON-like dict."""
        return {
            "name": self.name,
            "modules": list(self.modules),
            "options": list(self.options),
            "costs": list(self.costs),
            "block": self.block,
            "kind": self.kind,
            "attributes": dict(self.attributes),
            "pinned": self.pinned,
            **({"role": self.role} if self.role != RANK else {}),  # names of older spaces stay as they are
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Slot:
        """Rebuild a slot from `to_json`.

        Raises:
            InputError: If a field is missing or of the wrong kind.
        """
        try:
            return cls(
                name=str(data["name"]),
                modules=tuple(str(module) for module in data["modules"]),
                options=tuple(int(option) for option in data["options"]),
                costs=tuple(int(cost) for cost in data["costs"]),
                block=int(data["block"]),
                kind=str(data["kind"]),
                attributes=tuple(
                    (str(key), float(value)) for key, value in data.get("attributes", {}).items()
                ),
                pinned=None if data.get("pinned") is None else int(data["pinned"]),
                role=str(data.get("role", RANK)),
            )
        except InputError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"not a slot: {error!r}. It needs name, modules, options, costs, block and kind."
            ) from error


def _ascends(numbers: tuple[int, ...]) -> bool:
    return all(low < high for low, high in itertools.pairwise(numbers))
