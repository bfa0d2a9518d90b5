"""Conversion of a requested budget to an exact budget and a uniform rank."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rankadaptor.components.adapter.grouping import Group
from rankadaptor.errors import BudgetError

logger = logging.getLogger(__name__)

NEARLY = 0.98
"""A warning is logged if the budget of uniform is below this share of the requested budget."""
BYTES_PER_PARAMETER = 4
"""Adapters are trained and saved in float32."""


@dataclass(frozen=True)
class BudgetRequest:
    """A budget in one of three forms.

    Attributes:
        like_uniform: The exact cost of this rank everywhere.
        parameters: Adapter parameters.
        megabytes: 10^6 bytes of float32 adapter weights.
    """

    like_uniform: int | None = None
    parameters: int | None = None
    megabytes: float | None = None

    def __post_init__(self) -> None:
        given = {name: value for name, value in vars(self).items() if value is not None}
        if len(given) != 1:
            raise BudgetError(
                f"{len(given)} budgets given ({', '.join(given) or 'none'}). Give exactly one of "
                "like_uniform=8 (a rank), parameters=1_000_000, megabytes=4.0."
            )
        ((name, value),) = given.items()
        if isinstance(value, bool) or value <= 0 or (name != "megabytes" and not isinstance(value, int)):
            kind = "a number above 0" if name == "megabytes" else "a whole number of at least 1"
            raise BudgetError(f"{name}={value!r}: allowed is {kind}.")

    @property
    def most_parameters(self) -> int:
        """Adapter parameters allowed; 0 for `like_uniform`, which does not give a number."""
        if self.megabytes is not None:
            return int(self.megabytes * 1e6 / BYTES_PER_PARAMETER)
        return self.parameters or 0

    def find_rank(self, parameters_per_rank: int) -> int:
        """Return the requested rank, or the largest that fits in every slot."""
        return self.like_uniform or self.most_parameters // parameters_per_rank


def choose_budget(
    request: BudgetRequest,
    *,
    groups: Sequence[Group],
    options: Sequence[tuple[int, ...]],
    costs_per_rank: Sequence[int],
    pins: Mapping[int, int],
    mode: str,
) -> tuple[int, int]:
    """Return the budget, and the rank of the slots that are not pinned in the uniform allocation.

    The uniform rank is the largest that all free slots can have within the requested budget, with the pinned
    slots at their ranks; with `like_uniform=r` the requested budget is the cost of rank r in every slot,
    pinned or not. The budget is the cost of this uniform allocation, which can be less than requested, so
    that gains over uniform are gains at equal size.

    Args:
        request: The requested budget.
        groups: The linears of each slot.
        options: Ranks allowed in each slot.
        costs_per_rank: Cost per rank of each slot.
        pins: Rank of each pinned block.
        mode: Unit of the budget.

    Raises:
        BudgetError: If the requested rank is not allowed in every slot, or no uniform rank fits.
    """
    free = [index for index, group in enumerate(groups) if group.block not in pins]
    common = sorted(set.intersection(*(set(options[index]) for index in free)) - {0})
    if request.like_uniform is not None:
        _check_uniform_rank(request.like_uniform, groups, options, free)
        asked = request.like_uniform * sum(costs_per_rank)
    elif mode == "rank_sum":
        raise BudgetError(
            "a budget in parameters or megabytes with mode='rank_sum'. Give like_uniform=8 for a rank sum "
            "of 8 times the slots, or mode='parameters'."
        )
    else:
        asked = request.most_parameters
    held = sum(
        costs_per_rank[index] * pins[group.block] for index, group in enumerate(groups) if group.block in pins
    )
    rate = sum(costs_per_rank[index] for index in free)
    fitting = [rank for rank in common if held + rank * rate <= asked]
    if not fitting:
        smallest = (
            f"rank {common[0]} costs {held + common[0] * rate:,}" if common else "only rank 0 is allowed"
        )
        raise BudgetError(
            f"budget {asked:,}: no uniform rank fits, "
            f"{smallest}{f' ({held:,} of it pinned)' if held else ''}. Raise the budget, allow smaller "
            "ranks, or adapt fewer blocks."
        )
    rank = fitting[-1]
    budget = held + rank * rate
    if budget < NEARLY * asked:
        between = (asked - held) // rate
        more = f" With {between} among the ranks it is {held + between * rate:,}." if between > rank else ""
        logger.warning(
            "the budget of %s is lowered to %s, the cost of uniform rank %d, so that "
            "allocations are compared at equal size.%s",
            f"{asked:,}", f"{budget:,}", rank, more,
        )  # fmt: skip
    return budget, rank


def _check_uniform_rank(
    rank: int, groups: Sequence[Group], options: Sequence[tuple[int, ...]], free: Sequence[int]
) -> None:
    narrowest = min((groups[index] for index in free), key=lambda group: group.width)
    if rank > narrowest.width:
        raise BudgetError(
            f"like_uniform={rank}: slot {narrowest.name!r} allows at most {narrowest.width}, the smaller "
            "side of its narrowest linear. Give a smaller uniform rank, or a budget in parameters."
        )
    missing = [index for index in free if rank not in options[index]]
    if missing:
        raise BudgetError(
            f"like_uniform={rank}: not among the ranks {options[missing[0]]}. Add {rank} to ranks, or choose "
            "one of them."
        )
