"""A space: all allocations of one model that fit one budget."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rankadaptor.errors import BudgetError, InputError
from rankadaptor.files import compute_digest
from rankadaptor.space.allocation import Allocation
from rankadaptor.space.filling import fit_budget, is_filled
from rankadaptor.space.sampling import draw_choices
from rankadaptor.space.slot import Slot
from rankadaptor.space.tables import Ints, Tables, build_tables

SCHEMA = 1
MODES = ("parameters", "rank_sum")
SAMPLE_ROUNDS = 8


@dataclass(frozen=True, eq=False, repr=False)
class Space:
    """Slots, a budget, and the uniform allocation that everything is compared with.

    An allocation is inside the space exactly if every value is an option of its slot, pinned slots keep
    their value, and the summed cost does not exceed the budget. All randomness comes from the `seed` given;
    the same seed gives the same result.

    Attributes:
        slots: The slots, in the order of an allocation's values.
        budget: Largest cost allowed: adapter parameters, or the sum of ranks over slots in rank-sum mode.
        reference: Values of the uniform allocation.
        mode: Unit of the budget, `parameters` or `rank_sum`.
        model: Words that tell which model it is for; part of the digest.
    """

    slots: tuple[Slot, ...]
    budget: int
    reference: tuple[int, ...]
    mode: str = "parameters"
    model: str = ""

    def __post_init__(self) -> None:
        if not self.slots:
            raise InputError("a space without slots. Give at least one linear or slot.")
        if self.mode not in MODES:
            raise InputError(f"mode={self.mode!r}: allowed are {', '.join(MODES)}.")
        names = [slot.name for slot in self.slots]
        if len(set(names)) != len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise InputError(f"slot names occur twice: {twice[:5]}. Every slot needs a name of its own.")
        tables = self.tables
        cheapest = int(tables.costs[tables.columns, tables.lowest].sum())
        if cheapest > self.budget:
            raise BudgetError(
                f"budget {self.budget:,}: no allocation meets it, the cheapest costs {cheapest:,} "
                f"({self.unit}). Raise the budget to at least {cheapest:,}, allow smaller options, or pin "
                "less."
            )
        self._check(self.reference)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.n_slots} slots, budget {self.budget:,} {self.unit}, {self.digest})"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Space) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def n_slots(self) -> int:
        """Number of slots."""
        return len(self.slots)

    @property
    def unit(self) -> str:
        """Unit of costs and budget in words."""
        return "adapter parameters" if self.mode == "parameters" else "sum of ranks"

    @functools.cached_property
    def tables(self) -> Tables:
        """Options and costs as arrays."""
        return build_tables(self.slots)

    @functools.cached_property
    def digest(self) -> str:
        """Name of the space by its content."""
        return compute_digest(self.to_json())

    # ── one allocation ──────────────────────────────────────────────────────────────────────────────────────

    def cost(self, values: Sequence[int]) -> int:
        """Return the cost of values, inside the budget or not.

        Raises:
            InputError: If a value is not an option of its slot, or their number is wrong.
        """
        self._check_length(values)
        return sum(slot.cost(int(value)) for slot, value in zip(self.slots, values, strict=True))

    def contains(self, values: Sequence[int]) -> bool:
        """Tell whether values are an allocation of this space."""
        try:
            self._check(values)
        except InputError:
            return False
        return True

    def allocation(self, values: Sequence[int]) -> Allocation:
        """Make an allocation.

        Raises:
            BudgetError: If the values are outside the space; the message says by how much, or which slot is
                at fault.
        """
        self._check(values)
        return Allocation(values=tuple(int(value) for value in values), space=self)

    def uniform(self) -> Allocation:
        """Return the reference allocation."""
        return Allocation(values=self.reference, space=self)

    def repair(self, values: Sequence[int], *, seed: int) -> Allocation:
        """Bring values into the space and use the budget up.

        Values between two options go down to the lower one and pinned slots take their pinned value; then
        randomly chosen slots go down until it fits, and up until no single step fits. Allocations that are
        inside and filled come back unchanged.

        Raises:
            InputError: If the number of values is wrong or one is negative.
        """
        self._check_length(values)
        repaired = self.repair_array(np.asarray([values]), seed=seed)
        return Allocation(values=tuple(repaired[0].tolist()), space=self)

    def is_filled(self, values: Sequence[int]) -> bool:
        """Tell whether no single step up of one slot fits the budget."""
        choices, _ = self.tables.find_choices(self._as_array([values]))
        return bool(is_filled(self.tables, choices, budget=self.budget)[0])

    # ── many allocations ────────────────────────────────────────────────────────────────────────────────────

    def cost_array(self, values: ArrayLike) -> Ints:
        """Return the cost of each row of values `(n, n_slots)` as `(n,)`.

        Raises:
            InputError: If a value is not an option of its slot.
        """
        given = self._as_array(values)
        tables = self.tables
        choices = np.zeros(given.shape, dtype=np.int64)
        for position in range(1, tables.options.shape[1]):
            choices += given > tables.options[:, position - 1]
        wrong = np.argwhere(tables.read_values(choices) != given)
        if wrong.size:
            row, column = wrong[0]
            slot = self.slots[column]
            raise InputError(
                f"row {row}, slot {slot.name!r}: {given[row, column]} is not one of its options "
                f"{slot.options}. Choose one of them."
            )
        return tables.sum_costs(choices)

    def repair_array(self, values: ArrayLike, *, seed: int, fill: bool = True) -> Ints:
        """Bring each row of values `(n, n_slots)` into the space; see `repair`.

        Without `fill`, rows inside the budget keep what they leave of it.
        """
        choices, _ = self.tables.find_choices(self._as_array(values))
        generator = np.random.default_rng(seed)
        return self.tables.read_values(
            fit_budget(self.tables, choices, budget=self.budget, generator=generator, fill=fill)
        )

    def sample_array(self, count: int, seed: int) -> Ints:
        """Draw `(count, n_slots)` values inside the budget and filled up; rows can repeat.

        They range from slight tilts of the reference to far corners; see `rankadaptor.space.sampling`.
        """
        reference, _ = self.tables.find_choices(self._as_array([self.reference]))
        generator = np.random.default_rng(seed)
        return self.tables.read_values(
            draw_choices(self.tables, reference[0], count, budget=self.budget, generator=generator)
        )

    def sample(self, count: int, *, seed: int) -> list[Allocation]:
        """Draw distinct allocations; fewer than `count` only if the space hardly has more."""
        found: dict[tuple[int, ...], None] = {}
        generator = np.random.default_rng(seed)
        for _ in range(SAMPLE_ROUNDS):
            drawn = self.sample_array(count - len(found), int(generator.integers(1 << 62)))
            found.update(dict.fromkeys(map(tuple, drawn.tolist())))
            if len(found) >= count:
                break
        return self._wrap(list(found)[:count])

    # ── JSON ────────────────────────────────────────────────────────────────────────────────────────────────

    def to_json(self) -> dict[str, Any]:
        """Return the whole space as a JSON-like dict."""
        return {
            "schema": SCHEMA,
            "model": self.model,
            "mode": self.mode,
            "budget": self.budget,
            "reference": list(self.reference),
            "slots": [slot.to_json() for slot in self.slots],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
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
                budget=int(data["budget"]),
                reference=tuple(int(value) for value in data["reference"]),
                mode=str(data["mode"]),
                model=str(data.get("model", "")),
            )
        except InputError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"not a space: {error!r}. It needs slots, budget, reference and mode."
            ) from error

    # ── checks ──────────────────────────────────────────────────────────────────────────────────────────────

    def _wrap(self, rows: Iterable[tuple[int, ...]]) -> list[Allocation]:
        return [Allocation(values=row, space=self) for row in rows]

    def _check_length(self, values: Sequence[int]) -> None:
        if len(values) != len(self.slots):
            raise InputError(
                f"{len(values)} values for {len(self.slots)} slots. Give one value per slot, in the order of "
                f"space.slots ({self.slots[0].name} … {self.slots[-1].name})."
            )

    def _check(self, values: Sequence[int]) -> None:
        self._check_length(values)
        for slot, value in zip(self.slots, values, strict=True):
            if value not in slot.options:
                raise BudgetError(
                    f"slot {slot.name!r}: {value} is not one of its options {slot.options}. Choose one of "
                    "them, or bring the values inside with space.repair(values)."
                )
            if slot.pinned is not None and value != slot.pinned:
                raise BudgetError(
                    f"slot {slot.name!r} is pinned at {slot.pinned} and was given {value}. Keep the pinned "
                    "value, or build the space without this pin."
                )
        cost = self.cost(values)
        if cost > self.budget:
            raise BudgetError(
                f"allocation costs {cost:,}, allowed are {self.budget:,} ({self.unit}): "
                f"{cost - self.budget:,} too many. Lower some slots, or bring it inside with "
                "space.repair(values)."
            )

    def _as_array(self, values: ArrayLike) -> Ints:
        given: NDArray[Any] = np.asarray(values)
        if given.ndim != 2 or given.shape[1] != len(self.slots):
            raise InputError(
                f"values of shape {given.shape}; allowed is (n, {len(self.slots)}), one column per slot."
            )
        whole = given.astype(np.int64)
        if not np.array_equal(whole, given) or (whole < 0).any():
            raise InputError("values must be whole numbers ≥ 0.")
        return whole
