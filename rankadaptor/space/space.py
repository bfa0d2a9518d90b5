"""A space: all allocations of one model that keep the limits."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rankadaptor.errors import BudgetError, InputError
from rankadaptor.files import compute_digest
from rankadaptor.space.allocation import Allocation
from rankadaptor.space.limits import Limit
from rankadaptor.space.repair import find_inside, fit_limits, is_filled
from rankadaptor.space.sampling import draw_choices
from rankadaptor.space.slot import Label, Slot
from rankadaptor.space.tables import Ints, Tables, build_tables

SCHEMA = 2
SAMPLE_ROUNDS = 8


@dataclass(frozen=True, eq=False, repr=False)
class Space:
    """Slots, limits, and named references that allocations are compared with.

    An allocation is inside the space exactly if every slot takes one of its options, pinned slots take
    theirs, and no limit is exceeded. All randomness comes from the `seed` given; the same seed gives the same
    result. Arrays hold *choices*: the index of the option that each slot takes.

    Attributes:
        slots: The slots, in the order of an allocation's choices.
        limits: Upper bounds, at most one a resource. The first one is used up by what is drawn.
        references: Named choices, at least one. Coordinates are zero at the first, the origin; a reference
            may exceed the limits.
        model: Words that tell which model it is for; part of the digest.
    """

    slots: tuple[Slot, ...]
    limits: tuple[Limit, ...]
    references: tuple[tuple[str, tuple[int, ...]], ...]
    model: str = ""

    def __post_init__(self) -> None:
        if not self.slots:
            raise InputError("a space without slots. Give at least one linear or slot.")
        _check_unique([slot.name for slot in self.slots], "slot names")
        _check_unique([limit.resource for limit in self.limits], "limits")
        _check_unique([name for name, _ in self.references], "references")
        if not self.references:
            raise InputError("a space without a reference. Give at least one, for example ('uniform', ...).")
        for name, choices in self.references:
            self._check_choices(choices, what=f"reference {name!r}")
        for slot, choice in zip(self.slots, self.origin, strict=True):
            if any(slot.coordinates[choice]):
                raise InputError(
                    f"slot {slot.name!r}: coordinates are not zero at {slot.options[choice]}, which the "
                    f"first reference {self.references[0][0]!r} takes. Give coordinates relative to it."
                )
        self._check_limits()

    def __repr__(self) -> str:
        limits = ", ".join(f"{limit.name} up to {limit.bound:,}" for limit in self.limits) or "no limits"
        return f"{type(self).__name__}({self.n_slots} slots, {limits}, {self.digest})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Space) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def n_slots(self) -> int:
        """Number of slots."""
        return len(self.slots)

    @property
    def bounds(self) -> tuple[int, ...]:
        """Bounds of the limits, in their order."""
        return tuple(limit.bound for limit in self.limits)

    @property
    def origin(self) -> tuple[int, ...]:
        """Choices of the first reference, where all coordinates are zero."""
        return self.references[0][1]

    @functools.cached_property
    def tables(self) -> Tables:
        """Costs and coordinates as arrays."""
        return build_tables(self.slots, limited=[limit.resource for limit in self.limits])

    @functools.cached_property
    def digest(self) -> str:
        """Name of the space by its content.

        Coordinates count to 9 digits: processors compute logarithms alike up to the last bits only.
        """
        content = self.to_json()
        for slot in content["slots"]:
            slot["coordinates"] = [[float(f"{x:.9g}") for x in vector] for vector in slot["coordinates"]]
        return compute_digest(content)

    # ── one allocation ──────────────────────────────────────────────────────────────────────────────────────

    def allocation(self, values: Sequence[Any]) -> Allocation:
        """Make an allocation from one label a slot.

        Raises:
            BudgetError: If it is outside the space; the message says by how much, or which slot is at fault.
        """
        return self.from_choices(self.find_choices(values))

    def from_choices(self, choices: Sequence[int]) -> Allocation:
        """Make an allocation from the index of each slot's option.

        Raises:
            BudgetError: If it is outside the space; the message says by how much, or which slot is at fault.
        """
        self._check_choices(choices, what="allocation")
        allocation = Allocation(choices=tuple(int(choice) for choice in choices), space=self)
        for limit in self.limits:
            if (cost := allocation.cost(limit.resource)) > limit.bound:
                raise BudgetError(
                    f"allocation costs {cost:,}, allowed are {limit.bound:,} ({limit.name}): "
                    f"{cost - limit.bound:,} too many. Lower some slots, or bring it inside with "
                    "space.repair(values)."
                )
        return allocation

    def contains(self, values: Sequence[Any]) -> bool:
        """Tell whether labels are an allocation of this space."""
        try:
            self.allocation(values)
        except InputError:
            return False
        return True

    def reference(self, name: str | None = None) -> Allocation:
        """Return a reference by its name, the first one by default.

        Raises:
            InputError: If there is none of that name.
        """
        known = dict(self.references)
        if name is not None and name not in known:
            raise InputError(f"reference {name!r}: this space has {', '.join(known)}. Choose one of them.")
        return Allocation(choices=known[name] if name is not None else self.origin, space=self)

    def find_choices(self, values: Sequence[Any]) -> tuple[int, ...]:
        """Return the index of the option that each label names.

        Raises:
            BudgetError: If a label is not an option of its slot.
            InputError: If their number is wrong.
        """
        self._check_length(values)
        try:
            return tuple(slot.find_choice(value) for slot, value in zip(self.slots, values, strict=True))
        except InputError as error:
            raise BudgetError(f"{error} `space.repair(values)` takes the nearest below.") from error

    def repair(self, values: Sequence[Any], *, seed: int) -> Allocation:
        """Bring labels into the space and use the first limit up.

        A number between two options goes down to the lower one and pinned slots take their option; then
        randomly chosen slots go down until all limits are kept, and up until no single step fits.
        Allocations that are inside and filled come back unchanged.

        Raises:
            InputError: If the number of labels is wrong, or one is neither an option nor a number of at least
                0.
        """
        self._check_length(values)
        choices = [_find_nearest(slot, value) for slot, value in zip(self.slots, values, strict=True)]
        return self.from_choices(self.repair_choices([choices], seed=seed)[0].tolist())

    def is_filled(self, allocation: Allocation) -> bool:
        """Tell whether no single step up of one slot in the first limited resource keeps the limits."""
        return bool(is_filled(self.tables, np.asarray([allocation.choices]), bounds=self.bounds)[0])

    # ── many allocations ────────────────────────────────────────────────────────────────────────────────────

    def sum_costs(self, choices: ArrayLike, resource: str) -> Ints:
        """Return the cost of each row of choices `(n, n_slots)` in one resource, `(n,)`.

        Raises:
            InputError: If a choice is not one of its slot's options.
        """
        given = self.check_choices(choices)
        if resource not in self.tables.resources:
            return np.zeros(len(given), dtype=np.int64)
        return self.tables.sum_costs(given, self.tables.resources.index(resource))

    def check_choices(self, choices: ArrayLike) -> Ints:
        """Return choices as an array `(n, n_slots)` of which every entry is an option of its slot.

        Limits and pins are not looked at.

        Raises:
            InputError: If the shape is wrong, or an entry is no option; the message names row and slot.
        """
        given = self._as_array(choices)
        faulty = given.view(np.uint64) >= self._counts  # negative numbers become large
        if faulty.any():
            row, column = (int(place) for place in np.argwhere(faulty)[0])
            slot = self.slots[column]
            raise InputError(
                f"row {row}, slot {slot.name!r}: option number {given[row, column]}; it has "
                f"{len(slot.options)}, counted from 0. Choices are numbers of options; find_choices(values) "
                "returns those of labels."
            )
        return given

    def repair_choices(self, choices: ArrayLike, *, seed: int, fill: bool = True) -> Ints:
        """Bring each row of choices `(n, n_slots)` into the space; see `repair`.

        Without `fill`, rows inside the limits keep what they leave of them.
        """
        return fit_limits(
            self.tables,
            self.tables.clip(self._as_array(choices)),
            bounds=self.bounds,
            inside=self._inside,
            generator=np.random.default_rng(seed),
            fill=fill,
        )

    def sample_choices(self, count: int, seed: int) -> Ints:
        """Draw `(count, n_slots)` choices inside the limits, the first one used up; rows can repeat.

        They range from slight variations of the first reference to extremes; see
        `rankadaptor.space.sampling`.
        """
        return draw_choices(
            self.tables,
            np.asarray(self.origin, dtype=np.int64),
            count,
            bounds=self.bounds,
            inside=self._inside,
            generator=np.random.default_rng(seed),
        )

    def sample(self, count: int, *, seed: int) -> list[Allocation]:
        """Draw distinct allocations; fewer than `count` only if the space hardly has more."""
        found: dict[tuple[int, ...], None] = {}
        generator = np.random.default_rng(seed)
        for _ in range(SAMPLE_ROUNDS):
            drawn = self.sample_choices(count - len(found), int(generator.integers(1 << 62)))
            found.update(dict.fromkeys(map(tuple, drawn.tolist())))
            if len(found) >= count:
                break
        return [Allocation(choices=row, space=self) for row in list(found)[:count]]

    def read_labels(self, choices: ArrayLike) -> list[tuple[Label, ...]]:
        """Return the labels of each row of choices `(n, n_slots)`.

        Raises:
            InputError: If a choice is not one of its slot's options.
        """
        rows = self.check_choices(choices).tolist()
        return [
            tuple(slot.options[choice] for slot, choice in zip(self.slots, row, strict=True)) for row in rows
        ]

    # ── JSON ────────────────────────────────────────────────────────────────────────────────────────────────

    def to_json(self) -> dict[str, Any]:
        """Return the whole space as a JSON-like dict."""
        return {
            "schema": SCHEMA,
            "model": self.model,
            "limits": {limit.resource: limit.bound for limit in self.limits},
            "references": {name: list(choices) for name, choices in self.references},
            "slots": [slot.to_json() for slot in self.slots],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild a space from `to_json`.

        Raises:
            InputError: If it is of another schema, or a field is missing or wrong.
        """
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            schema = data.get("schema") if isinstance(data, dict) else None
            raise InputError(
                f"space of schema {schema!r}, this version reads {SCHEMA}. Write it with to_json()."
            )
        try:
            return cls(
                slots=tuple(Slot.from_json(slot) for slot in data["slots"]),
                limits=tuple(Limit(str(name), int(bound)) for name, bound in data["limits"].items()),
                references=tuple(
                    (str(name), tuple(int(choice) for choice in choices))
                    for name, choices in data["references"].items()
                ),
                model=str(data.get("model", "")),
            )
        except InputError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"not a space: {error!r}. It needs slots, limits and references.") from error

    # ── checks ──────────────────────────────────────────────────────────────────────────────────────────────

    @functools.cached_property
    def _counts(self) -> NDArray[np.uint64]:
        """`(n_slots,)` number of options of each slot."""
        return np.array([len(slot.options) for slot in self.slots], dtype=np.uint64)

    @functools.cached_property
    def _inside(self) -> Ints:
        found = find_inside(self.tables, self.bounds)
        if found is None:
            raise BudgetError(
                f"{self.limits}: every limit can be kept, but not all at once. Raise one of them, or allow "
                "other options."
            )
        return found

    def _check_limits(self) -> None:
        tables = self.tables
        for number, limit in enumerate(self.limits):
            open_costs = [
                costs[low : high + 1].min()
                for costs, low, high in zip(tables.costs[number], tables.lowest, tables.highest, strict=True)
            ]
            if (cheapest := int(sum(open_costs))) > limit.bound:
                raise BudgetError(
                    f"limit {limit.bound:,}: no allocation meets it, the cheapest costs {cheapest:,} "
                    f"({limit.name}). Raise it to at least {cheapest:,}, allow smaller options, or pin less."
                )
        if len(self.limits) > 1:
            self._inside  # noqa: B018  (raises where no allocation keeps all of them)

    def _check_length(self, values: Sequence[Any]) -> None:
        if len(values) != len(self.slots):
            raise InputError(
                f"{len(values)} values for {len(self.slots)} slots. Give one value per slot, in the order of "
                f"space.slots ({self.slots[0].name} … {self.slots[-1].name})."
            )

    def _check_choices(self, choices: Sequence[int], *, what: str) -> None:
        self._check_length(choices)
        for slot, choice in zip(self.slots, choices, strict=True):
            if not 0 <= choice < len(slot.options):
                raise InputError(
                    f"{what}, slot {slot.name!r}: option number {choice}; it has {len(slot.options)}, "
                    "counted from 0."
                )
            if slot.pinned is not None and choice != slot.pinned:
                raise BudgetError(
                    f"slot {slot.name!r} is pinned at {slot.options[slot.pinned]} and was given "
                    f"{slot.options[choice]}. Keep the pinned value, or build the space without this pin."
                )

    def _as_array(self, choices: ArrayLike) -> Ints:
        given = np.asarray(choices)
        if given.ndim != 2 or given.shape[1] != len(self.slots):
            raise InputError(
                f"choices of shape {given.shape}; allowed is (n, {len(self.slots)}), one column per slot. "
                "choices_array(allocations) makes them."
            )
        if given.dtype.kind not in "iu" and given.size:
            raise InputError(f"choices of type {given.dtype}. Give whole numbers, the indices of options.")
        return np.ascontiguousarray(given, dtype=np.int64)


def _check_unique(names: Sequence[str], what: str) -> None:
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise InputError(f"{what} occur twice: {twice[:5]}. Every one needs a name of its own.")


def _find_nearest(slot: Slot, value: Any) -> int:
    """Return the option with a label, or the largest number among the labels that is not above it."""
    if value in slot.options:
        return slot.options.index(value)
    numbers = [(option, index) for index, option in enumerate(slot.options) if isinstance(option, int)]
    if not isinstance(value, int | float | np.number) or value < 0 or len(numbers) < len(slot.options):
        raise InputError(
            f"slot {slot.name!r}: {value!r}. Give one of its options {slot.options}"
            + (", or a number ≥ 0." if numbers else ".")
        )
    return max((pair for pair in numbers if pair[0] <= value), default=min(numbers))[1]
