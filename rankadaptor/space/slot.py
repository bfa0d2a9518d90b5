"""A slot: modules that share one choice, its options, and what each option costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from rankadaptor.errors import InputError

LARGEST_COST = 1 << 44

Label: TypeAlias = int | str | tuple[int | str, ...]
"""What an option is called: a rank, a number of channels, a type, or several where choices are coupled."""

Values: TypeAlias = tuple[Label, ...]
"""An allocation as labels, one a slot."""


@dataclass(frozen=True)
class Slot:
    """Modules that share one choice among labelled options.

    Space, predictor and search read the index, the costs and the coordinates of an option. What a label means
    is known to the slot's component alone.

    Attributes:
        name: Unique in its space, for example `block3`, `block3.mlp` or `block3.q_proj`.
        component: What is chosen, for example `rank` or `width`; names the part of the package that applies
            it.
        modules: Full names of the modules that take the choice.
        options: Labels of the options, all different, in an order in which neighbours are similar: by size,
            where they have one.
        costs: Per resource one cost per option, whole numbers of at least 0. Resources that a slot does not
            name it does not use.
        coordinates: One vector per option, all of one length: what a predictor sees of the option. Zero at
            the option that the first reference of the space takes.
        block: Index of the decoder block.
        kind: What slots of different blocks have in common: `block`, `attention`, `mlp`, `q_proj`, ...
        attributes: Named numbers that describe the slot to a predictor.
        pinned: Index of the option this slot always takes, or None where the search may choose.
    """

    name: str
    component: str
    modules: tuple[str, ...]
    options: tuple[Label, ...]
    costs: tuple[tuple[str, tuple[int, ...]], ...]
    coordinates: tuple[tuple[float, ...], ...]
    block: int
    kind: str
    attributes: tuple[tuple[str, float], ...] = ()
    pinned: int | None = None

    def __post_init__(self) -> None:
        count = len(self.options)
        if not count or len(set(self.options)) != count:
            raise InputError(
                f"slot {self.name!r}: options {self.options}. Give at least one, each of them once."
            )
        if twice := {name for name in self.resources if self.resources.count(name) > 1}:
            raise InputError(f"slot {self.name!r} names {', '.join(sorted(twice))} twice among its costs.")
        for resource, costs in self.costs:
            if len(costs) != count:
                raise InputError(
                    f"slot {self.name!r}: {count} options and {len(costs)} costs in {resource}. Give exactly "
                    "one cost for each option."
                )
            if min(costs) < 0 or max(costs) > LARGEST_COST:
                raise InputError(
                    f"slot {self.name!r}: costs {costs} in {resource}. They must lie between 0 and 2^44."
                )
        if len(self.coordinates) != count or len({len(vector) for vector in self.coordinates}) != 1:
            raise InputError(
                f"slot {self.name!r}: {count} options and {len(self.coordinates)} coordinate vectors. Give "
                "one for each option, all of one length."
            )
        if not all(math.isfinite(number) for vector in self.coordinates for number in vector):
            raise InputError(f"slot {self.name!r}: coordinates must be finite numbers.")
        if self.pinned is not None and not 0 <= self.pinned < count:
            raise InputError(
                f"slot {self.name!r}: pinned at option number {self.pinned}; it has {count}, counted from 0."
            )
        if not all(math.isfinite(value) for _, value in self.attributes):
            raise InputError(f"slot {self.name!r}: attributes {self.attributes}. All must be finite numbers.")

    @property
    def resources(self) -> tuple[str, ...]:
        """The resources that this slot uses."""
        return tuple(resource for resource, _ in self.costs)

    def costs_in(self, resource: str) -> tuple[int, ...]:
        """Return the cost of every option in one resource; zeros where the slot does not use it."""
        return dict(self.costs).get(resource, (0,) * len(self.options))

    def find_choice(self, label: Any) -> int:
        """Return the index of the option with a label.

        Raises:
            InputError: If there is no such option.
        """
        try:
            return self.options.index(label)
        except ValueError:
            raise InputError(
                f"slot {self.name!r}: {label} is not one of its options {self.options}. Choose one of them."
            ) from None

    def attribute(self, name: str, default: float = 0.0) -> float:
        """Return a named attribute, or `default` where the slot does not have it."""
        return dict(self.attributes).get(name, default)

    def to_json(self) -> dict[str, Any]:
        """Return the slot as a JSON-like dict."""
        return {
            "name": self.name,
            "component": self.component,
            "modules": list(self.modules),
            "options": [list(label) if isinstance(label, tuple) else label for label in self.options],
            "costs": {resource: list(costs) for resource, costs in self.costs},
            "coordinates": [list(vector) for vector in self.coordinates],
            "block": self.block,
            "kind": self.kind,
            "attributes": dict(self.attributes),
            "pinned": self.pinned,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Slot:
        """Rebuild a slot from `to_json`.

        Raises:
            InputError: If a field is missing or of the wrong kind.
        """
        try:
            return cls(
                name=str(data["name"]),
                component=str(data["component"]),
                modules=tuple(str(module) for module in data["modules"]),
                options=tuple(read_label(label) for label in data["options"]),
                costs=tuple(
                    (str(resource), tuple(int(cost) for cost in costs))
                    for resource, costs in data["costs"].items()
                ),
                coordinates=tuple(
                    tuple(float(number) for number in vector) for vector in data["coordinates"]
                ),
                block=int(data["block"]),
                kind=str(data["kind"]),
                attributes=tuple(
                    (str(key), float(value)) for key, value in data.get("attributes", {}).items()
                ),
                pinned=None if data.get("pinned") is None else int(data["pinned"]),
            )
        except InputError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"not a slot: {error!r}. It needs name, component, modules, options, costs, coordinates, "
                "block and kind."
            ) from error


def read_label(value: Any) -> Label:
    """Return a label as JSON holds it: a whole number, a text, or a list of them.

    Raises:
        InputError: If it is something else.
    """
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(_read_part(part) for part in value)
    return _read_part(value)


def _read_part(value: Any) -> int | str:
    if isinstance(value, bool) or not (isinstance(value, int | str) or hasattr(value, "__index__")):
        raise InputError(f"option {value!r}: allowed are whole numbers, texts, and lists of them.")
    return value if isinstance(value, str) else int(value)
