"""What a method chose, and what choosing cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rankadaptor.space import Values

if TYPE_CHECKING:
    from rankadaptor.recipe import Recipe


SCALES_KEY = "widened"
"""Key of `with_scales` in stored choices."""


@dataclass(frozen=True)
class Choice:
    """An allocation, the recipe's rate where the method changed it, and the cost of finding both.

    Attributes:
        values: One rank per slot.
        tokens: Tokens trained, or run forward for a score; the final recoveries are not counted.
        seconds: Time of the same.
        learning_rate: The rate to recover with; None for the setting's own.
        details: What else belongs in a result.
        with_scales: Whether the values belong to the space with LoRA scales, which follow the ranks.
        initialisation: The initialisation to recover from, if it is not the setting's own.
    """

    values: Values
    tokens: int = 0
    seconds: float = 0.0
    learning_rate: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    with_scales: bool = False
    initialisation: str | None = None

    def change_recipe(self, recipe: Recipe) -> Recipe:
        """Return the setting's recipe with what this choice changes of it."""
        if self.learning_rate is not None:
            recipe = recipe.replace(learning_rate=self.learning_rate)
        if self.initialisation is not None:
            recipe = recipe.replace(initialisation=self.initialisation)
        return recipe

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON-like dict."""
        data = {**dataclasses.asdict(self), "values": list(self.values), "details": dict(self.details)}
        data[SCALES_KEY] = data.pop("with_scales")
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Choice:
        """Rebuild a choice from `to_json`; keys that are not its own are left out."""
        names = {entry.name for entry in dataclasses.fields(cls)}
        given = {name: value for name, value in data.items() if name in names}
        given["with_scales"] = bool(data.get(SCALES_KEY, False))
        return cls(**{**given, "values": tuple(int(value) for value in data["values"])})
